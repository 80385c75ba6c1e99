"""A semaphore whose places are not waited for without end."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from shared.domain.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class TimedSemaphore:
    """Lets a bounded number in at a time, in the order in which they came.

    Args:
        places: How many are let in.
        within_s: How long one waits for a place.
        kind: What waits, in the plural, for the sentence to those who waited too long.
    """

    def __init__(self, places: int, *, within_s: float, kind: str) -> None:
        self._semaphore = asyncio.Semaphore(places)
        self._within_s = within_s
        self._kind = kind

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold a place for as long as the context is open.

        Raises:
            UnavailableError: None was free in time.
        """
        try:
            async with asyncio.timeout(self._within_s):
                await self._semaphore.acquire()
        except TimeoutError:
            raise UnavailableError(
                f"too many {self._kind} wait to be stored",
                for_sender=f"Too many {self._kind} wait to be stored; this one was not kept.",
            ) from None
        try:
            yield
        finally:
            self._semaphore.release()
