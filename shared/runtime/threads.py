"""Work in threads, whose callers may be cancelled at any time."""

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

    A thread can't be ended. So nothing that it uses is released under it: no file is closed, no memory
    counted as free, and nobody else let in where so many may work at a time.
    """
    return await _to_its_end(asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs)))


async def in_thread_of(threads: Executor, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """The same in one of these threads, for work that must not wait for what else is done in threads."""
    future = asyncio.get_running_loop().run_in_executor(threads, partial(work, *args, **kwargs))
    return await _to_its_end(future)


async def _to_its_end(work: asyncio.Future[_T]) -> _T:
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # told to nobody: who waited is gone
        raise
    finally:
        del work  # which its exception would keep by this frame, with all that was given to the work
