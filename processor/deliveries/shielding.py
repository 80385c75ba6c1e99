"""What has begun to be committed is finished, even by somebody who is told to stop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

_FINISH_WITHIN_S: Final = 5.0

_T = TypeVar("_T")


async def finished(work: Coroutine[object, object, _T], *, within_s: float = _FINISH_WITHIN_S) -> _T:
    """What the work returns; a cancellation waits for it, though not for longer than ``within_s``."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=within_s)
        task.cancel()
        raise
