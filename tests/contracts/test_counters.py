from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.limits import redis_counters
from gateway.limits.counters import CounterStore, FallbackCounters, MemoryCounters, MirroredCounters
from gateway.limits.redis_counters import open_counter_store
from shared.domain.errors import ConfigurationError, UnavailableError
from shared.runtime import outages
from tests.support.logs import capture_logs
from tests.support.servers.redis_server import RedisServer, open_redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from gateway.limits.counters import Count, Counters


class LoseableCounters(MemoryCounters):
    """Shared counters that a test makes unavailable."""

    is_lost = False

    async def count(self, key: str, expires_in_s: int) -> Count:
        self._check()
        return await super().count(key, expires_in_s)

    async def get(self, key: str) -> Count:
        self._check()
        return await super().get(key)

    async def clear(self, *keys: str) -> None:
        self._check()
        await super().clear(*keys)

    def _check(self) -> None:
        if self.is_lost:
            raise UnavailableError("lost")


class OvertakingCounters(MemoryCounters):
    """Shared counters whose results come in the wrong order, as through several connections."""

    async def count(self, key: str, expires_in_s: int) -> Count:
        counter = await super().count(key, expires_in_s)
        count = replace(counter)
        for _ in range(20 - count.value):
            await asyncio.sleep(0)
        return count


@pytest.fixture
async def redis_server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with open_redis_server(tmp_path) as server:
        yield server


@pytest.fixture(
    params=[
        "memory",
        "redis",
        "redis with fallback",
        "redis, mirrored",
        "fallback alone",
        "mirrored alone",
    ]
)
async def counters(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Counters]:
    lost = LoseableCounters()
    lost.is_lost = True
    alone: dict[str, Counters] = {
        "memory": MemoryCounters(),
        "fallback alone": FallbackCounters(lost, MemoryCounters()),
        "mirrored alone": MirroredCounters(FallbackCounters(lost, MemoryCounters()), MemoryCounters()),
    }
    if request.param in alone:
        yield alone[request.param]
        return
    async with open_redis_server(tmp_path) as server, open_counter_store(server.url) as store:
        assert store.redis is not None
        with_redis: dict[str, Counters] = {
            "redis": store.redis,
            "redis with fallback": store.counters(),
            "redis, mirrored": store.mirrored_counters(),
        }
        yield with_redis[request.param]


async def counted(counters: Counters, key: str, expires_in_s: int = 60) -> int:
    return (await counters.count(key, expires_in_s)).value


async def value(counters: Counters, key: str) -> int:
    return (await counters.get(key)).value


async def left_s(counters: Counters, key: str) -> float:
    return (await counters.get(key)).expires_at - time.monotonic()


class TestEveryKind:
    async def test_it_counts_up(self, counters: Counters) -> None:
        assert [await counted(counters, "a") for _ in range(3)] == [1, 2, 3]
        assert await value(counters, "a") == 3

    async def test_what_was_never_counted_is_nought(self, counters: Counters) -> None:
        assert await value(counters, "a") == 0

    async def test_counters_do_not_disturb_each_other(self, counters: Counters) -> None:
        await counted(counters, "a")

        assert await value(counters, "b") == 0

    async def test_a_counter_expires_after_its_beginning_whatever_is_counted_meanwhile(
        self, counters: Counters
    ) -> None:
        await counted(counters, "a", 1)
        await asyncio.sleep(0.6)
        await counted(counters, "a", 1)
        await asyncio.sleep(0.6)

        assert await value(counters, "a") == 0
        assert await counted(counters, "a", 1) == 1

    async def test_it_tells_when_a_counter_expires(self, counters: Counters) -> None:
        count = await counters.count("a", 60)

        assert count.expires_at - time.monotonic() == pytest.approx(60, abs=2)
        assert await left_s(counters, "a") == pytest.approx(60, abs=2)

    async def test_what_is_cleared_begins_anew(self, counters: Counters) -> None:
        for key in "abc":
            await counted(counters, key)
        await counters.clear("a", "b")

        assert [await counted(counters, key) for key in "abc"] == [1, 1, 2]

    async def test_clearing_what_was_never_counted_is_no_error(self, counters: Counters) -> None:
        await counters.clear("a")

        assert await value(counters, "a") == 0

    async def test_many_at_a_time_are_all_counted(self, counters: Counters) -> None:
        counts = await asyncio.gather(*(counted(counters, "a") for _ in range(50)))

        assert sorted(counts) == list(range(1, 51))


class TestMemory:
    async def test_the_oldest_are_evicted_when_there_are_too_many(self) -> None:
        counters = MemoryCounters(max_counters=3)
        for key in "abcd":
            await counted(counters, key)

        assert [await value(counters, key) for key in "abcd"] == [0, 1, 1, 1]

    async def test_a_counter_that_begins_anew_is_the_youngest(self) -> None:
        counters = MemoryCounters(max_counters=3)
        await counted(counters, "a")
        await counted(counters, "b", 0)
        for key in "cbde":
            await counted(counters, key)

        assert [await value(counters, key) for key in "abcde"] == [0, 1, 0, 1, 1]

    async def test_what_has_expired_takes_no_memory_when_others_begin(self) -> None:
        counters = MemoryCounters()
        for key in "abc":
            await counted(counters, key, 0)
        await counted(counters, "d")

        assert list(counters._counters) == ["d"]

    async def test_what_was_found_to_have_expired_takes_no_memory(self) -> None:
        counters = MemoryCounters()
        await counted(counters, "a")
        await counted(counters, "b", 0)
        await value(counters, "b")

        assert list(counters._counters) == ["a"]

    async def test_a_clock_that_is_set_back_prolongs_no_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        counters = MemoryCounters()
        await counted(counters, "a", 1)
        set_back = time.time() - 7200
        monkeypatch.setattr("gateway.limits.counters.time.time", lambda: set_back)

        assert await left_s(counters, "a") == pytest.approx(1, abs=0.5)
        await asyncio.sleep(1.1)
        assert await value(counters, "a") == 0


class TestStore:
    async def test_it_makes_counters_in_memory_where_no_redis_is_given(self) -> None:
        async with open_counter_store(None) as store:
            kinds = [type(counters) for counters in (store.counters(), store.mirrored_counters())]

        assert kinds == [MemoryCounters, MemoryCounters]

    @pytest.mark.parametrize("redis", [None, LoseableCounters()], ids=["memory", "redis away"])
    async def test_no_number_of_counters_evicts_those_of_another(
        self, redis: LoseableCounters | None
    ) -> None:
        if redis:
            redis.is_lost = True
        store = CounterStore(redis, max_counters=3)
        apart = [store.counters(), store.mirrored_counters()]
        counters = store.counters()
        for each in apart:
            await counted(each, "a")
        for key in "bcdefg":
            await counted(counters, key)

        assert [await value(each, "a") for each in apart] == [1, 1]
        assert await value(counters, "b") == 0


class TestFallback:
    async def test_it_goes_on_with_the_shared_counters_when_they_are_back(self) -> None:
        shared = LoseableCounters()
        counters = FallbackCounters(shared, MemoryCounters())
        await counted(counters, "a")
        shared.is_lost = True
        alone = [await counted(counters, "a") for _ in range(3)]
        shared.is_lost = False

        assert alone == [1, 2, 3]
        assert await counted(counters, "a") == 2

    async def test_a_cleared_counter_stays_cleared_when_shared_counters_are_unavailable_again(self) -> None:
        shared = LoseableCounters()
        counters = FallbackCounters(shared, MemoryCounters())
        shared.is_lost = True
        await counted(counters, "a")
        shared.is_lost = False
        await counters.clear("a")
        shared.is_lost = True

        assert await value(counters, "a") == 0


class TestRemembered:
    async def test_many_at_a_time_are_all_counted_after_the_shared_were_lost(self) -> None:
        shared = MemoryCounters()
        counters = MirroredCounters(shared, MemoryCounters())
        for _ in range(3):
            await counted(counters, "a")
        await shared.clear("a")

        counts = await asyncio.gather(*(counted(counters, "a") for _ in range(10)))

        assert sorted(counts) == list(range(4, 14))

    async def test_many_at_a_time_are_each_counted_once_when_their_results_overtake_each_other(self) -> None:
        counters = MirroredCounters(OvertakingCounters(), MemoryCounters())

        counts = await asyncio.gather(*(counted(counters, "a") for _ in range(10)))

        assert sorted(counts) == list(range(1, 11))

    async def test_the_later_expiry_holds(self) -> None:
        shared, own = MemoryCounters(), MemoryCounters()
        await shared.count("a", 100)
        await own.count("b", 100)
        counters = MirroredCounters(shared, own)

        ends = [(await counters.count(key, 10)).expires_at - time.monotonic() for key in "ab"]

        assert ends == pytest.approx([100, 100], abs=5)
        assert [await left_s(counters, key) for key in "ab"] == pytest.approx([100, 100], abs=5)


class TestRedis:
    async def test_gateways_count_together(self, redis_server: RedisServer) -> None:
        async with open_counter_store(redis_server.url) as one, open_counter_store(redis_server.url) as other:
            await counted(one.counters(), "a")

            assert await counted(other.counters(), "a") == 2

    async def test_while_redis_is_unavailable_each_gateway_counts_by_itself_without_long_waits(
        self, redis_server: RedisServer
    ) -> None:
        async with open_counter_store(redis_server.url) as store:
            counters = store.counters()
            await counted(counters, "a")
            await redis_server.stop()
            begun = time.monotonic()

            counts = [await counted(counters, "a") for _ in range(100)]

        assert counts == list(range(1, 101))
        assert time.monotonic() - begun < 3

    async def test_its_health_is_redis_s(
        self, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(redis_counters, "_RETRY_AFTER_S", 0.0)
        async with open_counter_store(redis_server.url) as store:
            limits = store.health_parts["limits"]
            await limits.check()
            await redis_server.stop()
            with pytest.raises(UnavailableError, match=r"^Redis does not answer: ConnectionError$"):
                await limits.check()
            await redis_server.start()
            await limits.check()

        assert math.isinf(limits.fails_after_s)

    async def test_while_redis_is_unavailable_it_is_not_asked_each_time(
        self, redis_server: RedisServer
    ) -> None:
        async with open_counter_store(redis_server.url) as store:
            assert store.redis is not None
            await redis_server.stop()

            with capture_logs() as records:
                for _ in range(3):
                    with pytest.raises(UnavailableError):
                        await store.redis.count("a", 60)

        assert [record["message"] for record in records] == ["not available"]

    async def test_an_outage_is_told_once_when_it_begins_and_once_when_it_ends(
        self, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(redis_counters, "_RETRY_AFTER_S", 0.0)
        monkeypatch.setattr(outages, "QUIET_S", 0.0)
        async with open_counter_store(redis_server.url) as store:
            assert store.redis is not None
            with capture_logs() as records:
                await redis_server.stop()
                for _ in range(3):
                    with pytest.raises(UnavailableError):
                        await store.redis.count("a", 60)
                await redis_server.start()
                for _ in range(3):
                    await store.redis.count("a", 60)

        assert [(record["message"], record["what"]) for record in records] == [
            ("not available", "Redis; this gateway counts by itself"),
            ("available again", "Redis; this gateway counts by itself"),
        ]

    async def test_counters_that_redis_evicts_are_remembered_by_a_gateway(
        self, redis_server: RedisServer
    ) -> None:
        async with (
            open_counter_store(redis_server.url) as store,
            open_counter_store(redis_server.url) as other,
        ):
            counters = store.mirrored_counters()
            await counted(other.counters(), "a")
            await counted(counters, "a")
            await redis_server.flush()

            assert await value(counters, "a") == 2
            assert await left_s(counters, "a") == pytest.approx(60, abs=5)
            assert await counted(counters, "a") == 3

    async def test_while_redis_is_unavailable_remembered_counters_go_on(
        self, redis_server: RedisServer
    ) -> None:
        async with open_counter_store(redis_server.url) as store:
            counters = store.mirrored_counters()
            await counted(counters, "a")
            await redis_server.stop()

            counts = [await counted(counters, "a") for _ in range(10)]

        assert counts == list(range(2, 12))

    async def test_what_is_cleared_is_cleared_for_every_gateway(self, redis_server: RedisServer) -> None:
        async with (
            open_counter_store(redis_server.url) as store,
            open_counter_store(redis_server.url) as other,
        ):
            remembered = store.mirrored_counters()
            await counted(remembered, "a")
            await remembered.clear("a")

            assert [await value(each, "a") for each in (remembered, store.counters(), other.counters())] == [
                0,
                0,
                0,
            ]

    async def test_it_is_asked_again_after_a_while(
        self, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gateway.limits.redis_counters._RETRY_AFTER_S", 0.05)
        async with open_counter_store(redis_server.url) as store:
            counters = store.counters()
            await redis_server.stop()
            await counted(counters, "a")
            await redis_server.start()
            await asyncio.sleep(0.1)
            await counted(counters, "b")

            async with open_counter_store(redis_server.url) as other:
                assert await value(other.counters(), "b") == 1

    async def test_an_address_that_is_none_is_a_clear_error(self) -> None:
        with pytest.raises(ConfigurationError, match="ISOLINE_REDIS_URL: expected redis://"):
            async with open_counter_store("http://canary:secret@localhost"):
                pass
