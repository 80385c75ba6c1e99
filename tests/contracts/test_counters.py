from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from gateway.counters import MemoryCounters, open_counters
from shared.domain.errors import ConfigurationError
from tests.servers.redis_server import RedisServer, open_redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from limits.aio.storage import Storage

    from gateway.counters import Counters


@pytest.fixture
async def redis_server(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with open_redis_server(tmp_path) as server:
        yield server


@pytest.fixture(params=["memory", "redis", "redis, remembered"])
async def counters(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Counters]:
    if request.param == "memory":
        async with open_counters(None) as counters:
            yield counters
        return
    async with open_redis_server(tmp_path) as server, open_counters(server.url) as counters:
        yield counters.remembered() if request.param.endswith("remembered") else counters


class TestEveryKind:
    async def test_it_counts_up(self, counters: Storage) -> None:
        assert [await counters.incr("a", 60) for _ in range(3)] == [1, 2, 3]
        assert await counters.get("a") == 3

    async def test_what_was_never_counted_is_nought(self, counters: Storage) -> None:
        assert await counters.get("a") == 0

    async def test_counters_do_not_disturb_each_other(self, counters: Storage) -> None:
        await counters.incr("a", 60)

        assert await counters.get("b") == 0

    async def test_a_counter_expires_after_its_beginning_whatever_is_counted_meanwhile(
        self, counters: Storage
    ) -> None:
        await counters.incr("a", 1)
        await asyncio.sleep(0.6)
        await counters.incr("a", 1)
        await asyncio.sleep(0.6)

        assert await counters.get("a") == 0
        assert await counters.incr("a", 1) == 1

    async def test_it_tells_when_a_counter_expires(self, counters: Storage) -> None:
        await counters.incr("a", 60)

        assert await counters.get_expiry("a") == pytest.approx(time.time() + 60, abs=2)

    async def test_what_is_cleared_begins_anew(self, counters: Storage) -> None:
        await counters.incr("a", 60)
        await counters.clear("a")

        assert await counters.incr("a", 60) == 1

    async def test_many_at_a_time_are_all_counted(self, counters: Storage) -> None:
        counts = await asyncio.gather(*(counters.incr("a", 60) for _ in range(50)))

        assert sorted(counts) == list(range(1, 51))

    async def test_counters_apart_are_counters_too(self, counters: Counters) -> None:
        apart = counters.apart()

        assert [await apart.incr("b", 60) for _ in range(2)] == [1, 2]
        assert (await apart.count("b", 60)).value == 3

    async def test_it_says_that_it_is_there(self, counters: Storage) -> None:
        assert await counters.check()


class TestMemory:
    async def test_the_oldest_are_forgotten_when_there_are_too_many(self) -> None:
        counters = MemoryCounters(max_counters=3)
        for key in "abcd":
            await counters.incr(key, 60)

        assert [await counters.get(key) for key in "abcd"] == [0, 1, 1, 1]

    async def test_a_clock_that_is_set_back_prolongs_no_count(self, monkeypatch: pytest.MonkeyPatch) -> None:
        counters = MemoryCounters()
        await counters.incr("a", 1)
        set_back = time.time() - 7200
        monkeypatch.setattr("gateway.counters.time.time", lambda: set_back)

        assert await counters.get_expiry("a") == pytest.approx(set_back + 1, abs=0.5)
        await asyncio.sleep(1.1)
        assert await counters.get("a") == 0

    async def test_no_number_of_counters_makes_forget_those_that_are_apart(self) -> None:
        counters = MemoryCounters(max_counters=3)
        apart = counters.apart()
        await apart.incr("a", 60)
        for key in "bcdefg":
            await counters.incr(key, 60)

        assert await apart.get("a") == 1

    async def test_resetting_forgets_all(self) -> None:
        counters = MemoryCounters()
        await counters.incr("a", 60)

        assert await counters.reset() == 1
        assert await counters.get("a") == 0


class TestRedis:
    async def test_gateways_count_together(self, redis_server: RedisServer) -> None:
        async with open_counters(redis_server.url) as one, open_counters(redis_server.url) as other:
            await one.incr("a", 60)

            assert await other.incr("a", 60) == 2

    async def test_while_it_is_away_each_counts_by_itself_and_nobody_waits_long(
        self, redis_server: RedisServer
    ) -> None:
        async with open_counters(redis_server.url) as counters:
            await counters.incr("a", 60)
            await redis_server.stop()
            begun = time.monotonic()

            counts = [await counters.incr("a", 60) for _ in range(100)]

        assert counts == list(range(1, 101))
        assert time.monotonic() - begun < 3

    async def test_what_it_forgets_for_want_of_memory_a_gateway_remembers(
        self, redis_server: RedisServer
    ) -> None:
        async with open_counters(redis_server.url) as opened, open_counters(redis_server.url) as other:
            counters = opened.remembered()
            await other.incr("a", 60)
            await counters.incr("a", 60)
            await other.reset()  # as if it had to make room

            assert await counters.get("a") == 2
            assert await counters.get_expiry("a") == pytest.approx(time.time() + 60, abs=5)
            assert await counters.incr("a", 60) == 3

    async def test_while_it_is_away_what_is_remembered_goes_on_from_where_it_was(
        self, redis_server: RedisServer
    ) -> None:
        async with open_counters(redis_server.url) as opened:
            counters = opened.remembered()
            await counters.incr("a", 60)
            await redis_server.stop()

            counts = [await counters.incr("a", 60) for _ in range(10)]

        assert counts == list(range(2, 12))

    async def test_what_is_cleared_is_cleared_for_every_gateway(self, redis_server: RedisServer) -> None:
        async with open_counters(redis_server.url) as counters, open_counters(redis_server.url) as other:
            remembered = counters.remembered()
            await remembered.incr("a", 60)
            await remembered.clear("a")

            assert [await each.get("a") for each in (remembered, counters, other)] == [0, 0, 0]

    async def test_it_is_asked_again_after_a_while(
        self, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gateway.counters._REDIS_PAUSE_S", 0.05)
        async with open_counters(redis_server.url) as counters:
            await redis_server.stop()
            await counters.incr("a", 60)
            await redis_server.start()
            await asyncio.sleep(0.1)
            await counters.incr("b", 60)

            async with open_counters(redis_server.url) as other:
                assert await other.get("b") == 1

    async def test_an_address_that_is_none_is_a_clear_error(self) -> None:
        with pytest.raises(ConfigurationError, match="ISOLINE_REDIS_URL: expected redis://"):
            async with open_counters("http://canary:secret@localhost"):
                pass
