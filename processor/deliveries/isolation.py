"""Isolation of retries: an ECG that was tried before is analysed while nothing else is in this process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Isolation:
    """A lock held shared by many or exclusively by one; a waiting exclusive holder goes before later ones."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._sharing = 0
        self._unshared = asyncio.Event()
        self._unshared.set()

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
