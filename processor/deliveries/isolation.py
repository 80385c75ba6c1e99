"""Isolation of retries: an ECG that was tried before is analysed while nothing else is in this process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    from shared.events import EcgKey


class Isolation:
    """A lock held shared by many or exclusively by one; a waiting exclusive holder goes before later ones."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._sharing = 0
        self._unshared = asyncio.Event()
        self._unshared.set()

    async def isolate_retries(
        self,
        settle_together: Callable[[], Awaitable[Iterable[EcgKey]]],
        settle_alone: Callable[[EcgKey], Awaitable[None]],
    ) -> None:
        """Settle ECGs together with others, then each that was tried before while nothing else is settled.

        Args:
            settle_together: Settles those without an earlier attempt, and returns the others.
            settle_alone: Settles one of the others.
        """
        async with self.shared():
            tried_before = await settle_together()
        for key in tried_before:
            async with self.exclusive():
                await settle_alone(key)

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Hold it together with other shared holders."""
        async with self._lock:
            self._sharing += 1
            self._unshared.clear()
        try:
            yield
        finally:
            self._sharing -= 1
            if not self._sharing:
                self._unshared.set()

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Hold it alone."""
        async with self._lock:
            await self._unshared.wait()
            yield
