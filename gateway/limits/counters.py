"""Counters that expire: the port, counters in memory, and their combinations with counters in Redis.

The rate limiter counts requests in them, the login throttle failed logins.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from shared.domain.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.runtime.health import HealthPart

# 25 MB at most.
MAX_COUNTERS: Final = 100_000


@dataclass(slots=True)
class Count:
    """The state of a counter.

    Attributes:
        value: 0 if there is no such counter.
        expires_at: When the counter starts again from 0, by `time.monotonic`: setting the system clock
            neither ends nor prolongs a limit.
    """

    value: int
    expires_at: float


class Counters(Protocol):
    """Counters by key, each of which expires a fixed time after its first count."""

    async def count(self, key: str, expires_in_s: int) -> Count:
        """Increment a counter; a new one expires after ``expires_in_s`` seconds.

        Read the result before the next await: it may be the counter itself, and change with the next count.

        Raises:
            UnavailableError: It may have been counted.
        """

    async def get(self, key: str) -> Count:
        """The present count.

        Raises:
            UnavailableError: The count is not known.
        """

    async def clear(self, *keys: str) -> None:
        """Set counters back to 0.

        Raises:
            UnavailableError: They may have been set back.
        """


class MemoryCounters:
    """Counters in this process, with increments in constant time; never unavailable.

    Args:
        max_counters: How many it keeps; another one evicts the oldest.
    """

    def __init__(self, max_counters: int = MAX_COUNTERS) -> None:
        self._max_counters = max_counters
        self._counters: OrderedDict[str, Count] = OrderedDict()  # oldest first

    async def count(self, key: str, expires_in_s: int) -> Count:
        now = time.monotonic()
        counter = self._counters.get(key)
        if counter is not None and counter.expires_at > now:
            counter.value += 1
            return counter
        counter = self._counters[key] = Count(1, now + expires_in_s)
        self._counters.move_to_end(key)
        self._evict(now)
        return counter

    async def get(self, key: str) -> Count:
        now = time.monotonic()
        counter = self._counters.get(key)
        if counter is not None and counter.expires_at > now:
            return counter
        await self.clear(key)
        return Count(0, now)

    async def clear(self, *keys: str) -> None:
        for key in keys:
            self._counters.pop(key, None)

    def _evict(self, now: float) -> None:
        """Drop the oldest while they have expired or are too many; amortized constant time."""
        while self._counters:
            key, oldest = next(iter(self._counters.items()))
            if oldest.expires_at > now and len(self._counters) <= self._max_counters:
                return
            del self._counters[key]


class FallbackCounters:
    """Shared counters; while they are unavailable, this gateway counts by itself, from 0."""

    def __init__(self, shared: Counters, own: MemoryCounters) -> None:
        self._shared = shared
        self._own = own

    async def count(self, key: str, expires_in_s: int) -> Count:
        try:
            return await self._shared.count(key, expires_in_s)
        except UnavailableError:
            return await self._own.count(key, expires_in_s)

    async def get(self, key: str) -> Count:
        try:
            return await self._shared.get(key)
        except UnavailableError:
            return await self._own.get(key)

    async def clear(self, *keys: str) -> None:
        await self._own.clear(*keys)
        with suppress(UnavailableError):
            await self._shared.clear(*keys)


class MirroredCounters:
    """Shared counters, mirrored in memory: the higher count is valid, and the later expiry.

    Counts of this gateway survive that Redis evicts them, restarts or is unavailable. Increments are
    serialized, which is fast enough for logins and not for requests.
    """

    def __init__(self, shared: Counters, own: MemoryCounters) -> None:
        self._shared = shared
        self._own = own
        self._lock = asyncio.Lock()

    async def count(self, key: str, expires_in_s: int) -> Count:
        async with self._lock:  # the higher of results out of order would be counted twice
            shared = await self._shared.count(key, expires_in_s)
            own = await self._own.count(key, expires_in_s)
            own.value = max(own.value, shared.value)
            return _higher(own, shared)

    async def get(self, key: str) -> Count:
        return _higher(await self._shared.get(key), await self._own.get(key))

    async def clear(self, *keys: str) -> None:
        await self._own.clear(*keys)
        await self._shared.clear(*keys)


@dataclass(frozen=True, slots=True)
class CounterStore:
    """Makes sets of counters that are never unavailable.

    Each set has its own memory, so that none evicts counters of another; in Redis they share their keys.

    Attributes:
        redis: Counters that all gateways share, if there are any.
        max_counters: How many each keeps in memory.
        health_parts: What works only while Redis does.
    """

    redis: Counters | None = None
    max_counters: int = MAX_COUNTERS
    health_parts: Mapping[str, HealthPart] = field(default_factory=dict)

    def counters(self) -> Counters:
        """Counters that a restart of Redis may reset."""
        own = MemoryCounters(self.max_counters)
        return FallbackCounters(self.redis, own) if self.redis else own

    def mirrored_counters(self) -> Counters:
        """Counters that this gateway keeps in memory too, so that a restart of Redis does not reset them."""
        own = MemoryCounters(self.max_counters)
        return MirroredCounters(self.counters(), own) if self.redis else own


def _higher(one: Count, other: Count) -> Count:
    return Count(max(one.value, other.value), max(one.expires_at, other.expires_at))
