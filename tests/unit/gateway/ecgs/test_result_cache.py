"""Which results are cached, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from unittest.mock import AsyncMock

import orjson
import pytest

import gateway.ecgs.result_cache
from gateway.ecgs.result_cache import ResultCache
from shared.ports.ecgs import Status
from tests.support.builders import a_queued_state, a_state

if TYPE_CHECKING:
    from gateway.ecgs.result_waiter import ResultWaiter

_DOCUMENT = b'{"leads":[{"I":{"zero_crossings":2}}],"insights":{"zero_crossings":1}}'
_AMPLE = 2**20


class Clock:
    """The time that the cache reads."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(gateway.ecgs.result_cache, "time", clock)
    return clock


@pytest.fixture
def state() -> AsyncMock:
    """The look-up of a state; each is counted."""
    return AsyncMock(side_effect=lambda owned, **_: a_state(owned[1], document=_DOCUMENT))


def result_cache_of(state: AsyncMock, *, max_bytes: int) -> ResultCache:
    waiter = AsyncMock()
    waiter.wait = state
    return ResultCache(cast("ResultWaiter", waiter), max_bytes=max_bytes)


def cached_in(results: ResultCache) -> list[str]:
    return [ecg_id for _, ecg_id in results._entries]


@pytest.mark.parametrize(("after_s", "lookups"), [(4.9, 1), (5.1, 2)])
async def test_a_finished_result_is_looked_up_once_in_five_seconds(
    clock: Clock, state: AsyncMock, after_s: float, lookups: int
) -> None:
    results = result_cache_of(state, max_bytes=_AMPLE)
    first = await results.get(("ada", "10"), wait_s=0)
    clock.now_s += after_s

    assert await results.get(("ada", "10"), wait_s=0) == first
    assert state.await_count == lookups


async def test_expired_results_are_dropped(clock: Clock, state: AsyncMock) -> None:
    results = result_cache_of(state, max_bytes=_AMPLE)
    for second in range(10):
        await results.get(("ada", str(second)), wait_s=0)
        clock.now_s += 1

    assert cached_in(results) == ["4", "5", "6", "7", "8", "9"]


@pytest.mark.usefixtures("clock")
async def test_past_its_byte_limit_it_evicts_the_oldest_result(state: AsyncMock) -> None:
    results = result_cache_of(state, max_bytes=4_000)  # an entry takes 1.6 kB
    for ecg_id in ("10", "11", "12"):
        await results.get(("ada", ecg_id), wait_s=0)

    assert cached_in(results) == ["11", "12"]


@pytest.mark.usefixtures("clock")
async def test_a_limit_of_0_bytes_caches_nothing(state: AsyncMock) -> None:
    results = result_cache_of(state, max_bytes=0)
    await results.get(("ada", "10"), wait_s=0)
    await results.get(("ada", "10"), wait_s=0)

    assert (cached_in(results), state.await_count) == ([], 2)


@pytest.mark.usefixtures("clock")
async def test_an_ecg_stored_just_now_waits_until_its_predecessor_has_expired_everywhere(
    state: AsyncMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep = AsyncMock()
    monkeypatch.setattr("gateway.ecgs.result_cache.asyncio.sleep", sleep)
    results = result_cache_of(state, max_bytes=_AMPLE)
    for ecg_id in ("10", "11"):
        await results.get(("ada", ecg_id), wait_s=0)

    await results.wait_for_predecessor_to_expire(("ada", "10"), age_s=0.0)

    assert cached_in(results) == ["11"]
    sleep.assert_awaited_once_with(5.0)


@pytest.mark.usefixtures("clock")
async def test_an_ecg_stored_long_ago_waits_for_nothing_and_stays_cached(
    state: AsyncMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep = AsyncMock()
    monkeypatch.setattr("gateway.ecgs.result_cache.asyncio.sleep", sleep)
    results = result_cache_of(state, max_bytes=_AMPLE)
    await results.get(("ada", "10"), wait_s=0)

    await results.wait_for_predecessor_to_expire(("ada", "10"), age_s=10.0)

    assert cached_in(results) == ["10"]
    sleep.assert_not_awaited()


@pytest.mark.usefixtures("clock")
async def test_an_ecg_queued_for_re_analysis_has_an_etag_and_is_not_cached() -> None:
    finished, again = a_state(), a_state()._replace(reanalysis=Status.QUEUED)
    state = AsyncMock(side_effect=[again, again, finished])
    results = result_cache_of(state, max_bytes=_AMPLE)

    first, second, third = [await results.get(("ada", "10"), wait_s=0) for _ in range(3)]

    assert first
    assert third
    assert first == second
    assert first.head.headers["ETag"] != third.head.headers["ETag"]
    assert orjson.loads(first.body) == orjson.loads(third.body) | {"reanalysis": "queued"}
    assert cached_in(results) == ["10"]


@pytest.mark.usefixtures("clock")
async def test_absent_fields_are_left_out() -> None:
    state = a_state()._replace(sampling_rate_hz=500.0, unit="uV")
    results = result_cache_of(AsyncMock(side_effect=[state, a_queued_state()]), max_bytes=0)

    finished, queued = [await results.get(("ada", "10"), wait_s=0) for _ in range(2)]

    assert finished
    assert queued
    assert orjson.loads(finished.body) == {
        "id": "10",
        "status": "completed",
        "date": "2023-07-30",
        "sampling_rate_hz": 500.0,
        "unit": "uV",
        "submitted_at": "2026-01-05T08:00:00+00:00",
        "completed_at": "2026-01-05T08:00:00+00:00",
        "generation": 1,
        "leads": [],
    }
    assert orjson.loads(queued.body) == {
        "id": "10",
        "status": "queued",
        "date": "2023-07-30",
        "submitted_at": "2026-01-05T08:00:00+00:00",
        "generation": 1,
    }
    assert "ETag" not in queued.head.headers
