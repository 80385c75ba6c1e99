"""Wait until a condition holds, where a test has nothing to await."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_POLL_S: Final = 0.01


async def until(condition: Callable[[], object], *, within_s: float = 30) -> None:
    """Return once the condition gives something true; it may give an awaitable of it.

    Raises:
        TimeoutError: It did not within this time.
    """
    async with asyncio.timeout(within_s):
        while not await _result_of(condition):
            await asyncio.sleep(_POLL_S)


async def _result_of(condition: Callable[[], object]) -> object:
    found = condition()
    return await found if inspect.isawaitable(found) else found
