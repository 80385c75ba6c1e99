"""Counts that expire: in this process, or in a Redis that all gateways share.

The library's own memory storage looks through all of its keys with every count, and keeps as many keys as
somebody sends addresses. This one costs the same for each count and keeps a bounded number.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections import OrderedDict
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import structlog
from limits.aio.storage import RedisStorage, Storage
from limits.errors import StorageError

from shared.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import Any

# About 25 MB at the most, of each.
MAX_COUNTERS: Final = 100_000

_REDIS_TIMEOUT_S: Final = 0.5
_REDIS_PAUSE_S: Final = 5.0
_PREFIX: Final = "isoline"

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Count:
    """What a counter says.

    Attributes:
        expires_at: When it begins anew, by `time.monotonic`: a clock that is set ends no limit and
            prolongs none.
    """

    value: int
    expires_at: float


class Counters(Storage):
    """A storage of the library, with the one question that every request asks as one call."""

    STORAGE_SCHEME = None

    @abstractmethod
    def apart(self) -> Counters:
        """Counters in the same place that no number of these can push out of memory."""

    @abstractmethod
    def remembered(self) -> Counters:
        """Counters apart that last, whatever Redis forgets."""

    async def count(self, key: str, expiry: int) -> Count:
        """Count one up; a counter that begins expires after ``expiry`` seconds.

        What is answered is to be read at once: it may be the counter itself.
        """
        value = await self.incr(key, expiry)
        return Count(value, time.monotonic() + await self.get_expiry(key) - time.time())


class MemoryCounters(Counters):
    """Counts in this process; beyond ``max_counters`` the oldest are forgotten."""

    def __init__(self, max_counters: int = MAX_COUNTERS) -> None:
        super().__init__()
        self._max_counters = max_counters
        self._counters: OrderedDict[str, Count] = OrderedDict()

    def apart(self) -> MemoryCounters:
        """As many others."""
        return MemoryCounters(self._max_counters)

    def remembered(self) -> MemoryCounters:
        """As many others."""
        return self.apart()

    @property
    def base_exceptions(self) -> type[Exception]:
        """What counting may raise: nothing."""
        return StorageError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count up; a counter that begins expires after ``expiry`` seconds."""
        return self._add(key, expiry, amount).value

    async def count(self, key: str, expiry: int) -> Count:
        """Count one up."""
        # Not through `incr`, which the library wraps: 0.9 us and not 3.
        return self._add(key, expiry, 1)

    async def get(self, key: str) -> int:
        """The present count."""
        counter = self._present(key)
        return counter.value if counter else 0

    async def get_expiry(self, key: str) -> float:
        """When the counter expires, in seconds since 1970; now when there is none."""
        counter = self._present(key)
        return time.time() + (counter.expires_at - time.monotonic() if counter else 0)

    async def check(self) -> bool:
        """Memory is always there."""
        return True

    async def reset(self) -> int:
        """Forget all; how many there were."""
        count = len(self._counters)
        self._counters.clear()
        return count

    async def clear(self, key: str) -> None:
        """Forget one."""
        self._counters.pop(key, None)

    def _add(self, key: str, expiry: int, amount: int) -> Count:
        counter = self._counters.get(key)
        if counter is not None and counter.expires_at > time.monotonic():
            counter.value += amount
            return counter
        self._counters.pop(key, None)  # what begins anew stands at the young end
        counter = self._counters[key] = Count(amount, time.monotonic() + expiry)
        self._forget_oldest()
        return counter

    def _present(self, key: str) -> Count | None:
        counter = self._counters.get(key)
        if counter is not None and counter.expires_at <= time.monotonic():
            del self._counters[key]
            return None
        return counter

    def _forget_oldest(self) -> None:
        """Drop what has expired at the old end, and what is too much; each was added once, so it is cheap."""
        now = time.monotonic()
        while self._counters:
            key, oldest = next(iter(self._counters.items()))
            if oldest.expires_at > now and len(self._counters) <= self._max_counters:
                return
            del self._counters[key]


@asynccontextmanager
async def open_counters(redis_url: str | None) -> AsyncIterator[Counters]:
    """Yield counters in Redis where a URL is given, else in memory.

    Raises:
        ConfigurationError: The URL is none, or the extra ``redis`` is not installed.
    """
    if redis_url is None:
        yield MemoryCounters()
        return
    pool = _redis_pool(redis_url)
    try:
        shared = RedisStorage(
            redis_url,
            wrap_exceptions=True,
            implementation="redispy",
            key_prefix=_PREFIX,
            connection_pool=pool,
        )
        yield SharedCounters(shared)
    finally:
        await pool.aclose()


def _redis_pool(url: str) -> Any:
    try:
        from redis.asyncio import ConnectionPool  # noqa: PLC0415 - an extra, for those who share limits
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError(
            "ISOLINE_REDIS_URL needs the extra redis: pip install isoline[redis]"
        ) from None
    try:
        return ConnectionPool.from_url(
            url,
            socket_timeout=_REDIS_TIMEOUT_S,
            socket_connect_timeout=_REDIS_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),  # once: the server may have closed a connection that was idle
        )
    except ValueError:
        raise ConfigurationError("ISOLINE_REDIS_URL: expected redis://[:password@]host[:port]") from None


class SharedCounters(Counters):
    """Counts in Redis; while Redis is away, each gateway counts by itself."""

    def __init__(self, shared: Storage) -> None:
        super().__init__()
        self._shared = shared
        self._own = MemoryCounters()
        self._ask_again_at = 0.0

    def apart(self) -> SharedCounters:
        """Others in the same Redis, and apart here."""
        return SharedCounters(self._shared)

    def remembered(self) -> RememberedCounters:
        """Others in the same Redis, and here too."""
        return RememberedCounters(self._shared)

    @property
    def base_exceptions(self) -> type[Exception]:
        """What counting may raise: nothing."""
        return StorageError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count up."""
        return await self._ask(lambda counters: counters.incr(key, expiry, amount))

    async def get(self, key: str) -> int:
        """The present count."""
        return await self._ask(lambda counters: counters.get(key))

    async def get_expiry(self, key: str) -> float:
        """When the counter expires."""
        return await self._ask(lambda counters: counters.get_expiry(key))

    async def check(self) -> bool:
        """Whether Redis is there."""
        return await self._shared.check()

    async def reset(self) -> int | None:
        """Forget all."""
        return await self._ask(lambda counters: counters.reset())

    async def clear(self, key: str) -> None:
        """Forget one."""
        await self._ask(lambda counters: counters.clear(key))

    async def _ask(self, question: Callable[[Storage], Awaitable[_T]]) -> _T:
        if time.monotonic() >= self._ask_again_at:
            try:
                return await question(self._shared)
            except (StorageError, OSError, TimeoutError) as error:
                self._ask_again_at = time.monotonic() + _REDIS_PAUSE_S
                _log.warning("Redis is away; this gateway counts by itself", reason=type(error).__name__)
        return await question(self._own)


class RememberedCounters(SharedCounters):
    """Counts in Redis and here, and the higher count holds, for counters that are to last.

    A Redis that is short of memory, restarted or away forgets nothing of what this gateway has seen.
    """

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count up."""
        known = await self._own.get(key) + amount
        count = max(known, await super().incr(key, expiry, amount))
        if (missing := count - await self._own.get(key)) > 0:
            await self._own.incr(key, expiry, missing)
        return count

    async def get(self, key: str) -> int:
        """The present count."""
        return max(await self._own.get(key), await super().get(key))

    async def get_expiry(self, key: str) -> float:
        """When the counter expires."""
        return max(await self._own.get_expiry(key), await super().get_expiry(key))

    async def reset(self) -> int | None:
        """Forget all."""
        await self._own.reset()
        return await super().reset()

    async def clear(self, key: str) -> None:
        """Forget one."""
        await self._own.clear(key)
        await super().clear(key)
