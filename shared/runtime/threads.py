"""Run functions in threads; a cancelled caller waits for its thread."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def in_thread(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """What the work returns; a cancellation waits for its end.

    A thread can't be cancelled. So its resources are released after it only: its files, its bytes of the byte
    budget, its slot of a semaphore.
    """
    return await _wait_for_thread(asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs)))


async def in_thread_of_pool(
    pool: Executor, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
) -> _T:
    """The same in a thread of this pool, for work that must not wait behind other work in threads."""
    future = asyncio.get_running_loop().run_in_executor(pool, partial(work, *args, **kwargs))
    return await _wait_for_thread(future)


async def _wait_for_thread(work: asyncio.Future[_T]) -> _T:
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # marks it as retrieved: the caller was cancelled
        raise
    finally:
        del work  # else the exception keeps it alive through this frame, with its arguments
