"""Shield a commit that has begun from cancellation, for a limited time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

_FINISH_WITHIN_S: Final = 5.0

_T = TypeVar("_T")


async def run_shielded(work: Coroutine[object, object, _T], *, within_s: float = _FINISH_WITHIN_S) -> _T:
    """What the work returns; a cancellation waits up to ``within_s`` for its end."""
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=within_s)
        task.cancel()
        raise
