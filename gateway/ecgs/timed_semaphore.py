"""A semaphore with a timeout."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from shared.domain.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class TimedSemaphore:
    """Admits a bounded number at a time, first come, first served.

    Args:
        slots: How many are admitted at a time.
        timeout_s: How long to wait for a slot.
        kind: What is admitted, in the plural, for the message of a timeout.
    """

    def __init__(self, slots: int, *, timeout_s: float, kind: str) -> None:
        self._semaphore = asyncio.Semaphore(slots)
        self._timeout_s = timeout_s
        self._kind = kind

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a slot for as long as the context is open.

        Raises:
            UnavailableError: No slot was free in time.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
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
