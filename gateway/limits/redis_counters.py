"""Counters in a Redis that all gateways share; needs the extra ``redis``."""

from __future__ import annotations

import math
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

from gateway.limits.counters import Count, CounterStore
from shared.domain.errors import ConfigurationError, UnavailableError
from shared.runtime.health import HealthPart
from shared.runtime.outages import Outages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from redis.asyncio import Redis

_TIMEOUT_S: Final = 0.5
_RETRY_AFTER_S: Final = 5.0
_PREFIX: Final = "isoline:"
_IMPACT: Final = "Each gateway counts requests and failed logins by itself: limits hold per gateway."
# As a transaction it would be five commands, which cost redis-py nearly twice the CPU.
_INCREMENT: Final = """
local count = redis.call("INCR", KEYS[1])
if count == 1 then redis.call("EXPIRE", KEYS[1], ARGV[1]) end
return {count, redis.call("PTTL", KEYS[1])}
"""


class RedisCounters:
    """Counters in Redis, each operation in one round trip.

    After a failure Redis is not used for 5 s, or every request would wait for a timeout.

    Args:
        client: Opens connections when they are needed.
        failures: What it raises when Redis is unavailable or refuses.
    """

    def __init__(self, client: Redis, failures: tuple[type[Exception], ...]) -> None:
        self._client = client
        self._failures = failures
        self._increment = client.register_script(_INCREMENT)
        self._retry_at = 0.0
        self._reason = ""
        self._outages = Outages("Redis; this gateway counts by itself")

    async def count(self, key: str, expires_in_s: int) -> Count:
        with self._circuit_breaker():
            value, left_ms = await self._increment([_PREFIX + key], [expires_in_s])
        return Count(value, time.monotonic() + left_ms / 1000)

    async def get(self, key: str) -> Count:
        commands = self._client.pipeline()
        commands.get(_PREFIX + key)
        commands.pttl(_PREFIX + key)
        with self._circuit_breaker():
            value, left_ms = await commands.execute()
        return Count(int(value or 0), time.monotonic() + left_ms / 1000)

    async def clear(self, *keys: str) -> None:
        with self._circuit_breaker():
            await self._client.delete(*(_PREFIX + key for key in keys))

    async def check(self) -> None:
        """Return if Redis answers."""
        with self._circuit_breaker():
            await self._client.ping()

    @contextmanager
    def _circuit_breaker(self) -> Iterator[None]:
        if time.monotonic() < self._retry_at:
            raise UnavailableError(f"Redis does not answer: {self._reason}")
        try:
            yield
        except self._failures as error:
            self._retry_at = time.monotonic() + _RETRY_AFTER_S
            self._reason = type(error).__name__
            self._outages.record_failure(self._reason)
            raise UnavailableError(f"Redis does not answer: {self._reason}") from error
        self._outages.record_success()


@asynccontextmanager
async def open_counter_store(redis_url: str | None) -> AsyncIterator[CounterStore]:
    """Yield a store in Redis where a URL is given, else in memory.

    Raises:
        ConfigurationError: The URL is invalid, or the extra ``redis`` is not installed.
    """
    if redis_url is None:
        yield CounterStore()
        return
    try:
        from redis.asyncio import Redis  # noqa: PLC0415 - an optional dependency
        from redis.asyncio.retry import Retry  # noqa: PLC0415
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.exceptions import RedisError  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError(
            "ISOLINE_REDIS_URL needs the extra redis: pip install isoline[redis]"
        ) from None
    try:
        client = Redis.from_url(
            redis_url,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),  # once: the server may have closed a connection that was idle
        )
    except ValueError:
        raise ConfigurationError("ISOLINE_REDIS_URL: expected redis://[:password@]host[:port]") from None
    async with client:
        counters = RedisCounters(client, (RedisError, OSError, TimeoutError))
        part = HealthPart(check=counters.check, impact=_IMPACT, fails_after_s=math.inf, is_logged=False)
        yield CounterStore(counters, health_parts={"limits": part})
