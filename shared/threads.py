"""Work in threads, whose callers may be cancelled at any time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_P = ParamSpec("_P")
_T = TypeVar("_T")


async def in_thread(work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """What the work returns; a cancellation waits for its end.

    A thread can't be ended. So nothing that it uses is released under it: no file is closed, no memory
    counted as free, and nobody else let in where so many may work at a time.
    """
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # told to nobody: who waited is gone
        raise
    finally:
        del task  # which its exception would keep by this frame, with all that was given to the work
