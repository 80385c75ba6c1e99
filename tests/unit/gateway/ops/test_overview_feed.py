from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import pytest

from gateway.ops import overview_feed
from gateway.ops.overview_feed import OverviewFeed, open_overview_feed
from shared.domain.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

_LIMIT_S: Final = 20


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview_feed, "_EVERY_S", 0.001)


class Reads:
    """Counts how often the overview is read; every second time it fails, if told to."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.count = 0
        self._failure = failure

    async def __call__(self) -> Mapping[str, object]:
        self.count += 1
        if self._failure is not None:
            raise self._failure
        return {"read": self.count}


async def some(feed: OverviewFeed, count: int) -> list[bytes]:
    """So many events, as one viewer sees them."""
    seen: list[bytes] = []
    async with asyncio.timeout(_LIMIT_S), aclosing(feed.events()) as events:
        async for event in events:
            seen.append(event)
            if len(seen) == count:
                break
    return seen


async def settled(reads: Reads) -> bool:
    """Whether nothing is read any more after a reading that may have begun."""
    await asyncio.sleep(0.02)
    before = reads.count
    await asyncio.sleep(0.05)
    return reads.count == before


async def test_nothing_is_read_before_the_first_viewer_and_after_the_last() -> None:
    reads = Reads()
    async with open_overview_feed(reads) as feed:
        assert await settled(reads)
        assert reads.count == 0
        await some(feed, 3)
        assert await settled(reads)
        assert reads.count >= 3


async def test_viewers_share_what_is_read() -> None:
    reads = Reads()
    async with open_overview_feed(reads) as feed:
        together = await asyncio.gather(*(some(feed, 5) for _ in range(10)))

    assert {tuple(seen) for seen in together} == {tuple(together[0])}
    assert together[0][0] == b'event: overview\ndata: {"read":1}\n\n'


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (UnavailableError("away"), b"away"),
        (UnavailableError("away", for_sender="No right."), b"No right."),
        (ValueError("a secret"), b"Something in Isoline failed."),
    ],
)
async def test_a_reading_that_fails_is_told_and_tried_again(failure: Exception, reason: bytes) -> None:
    async with open_overview_feed(Reads(failure)) as feed:
        seen = await some(feed, 2)

    assert seen == [b'event: unavailable\ndata: {"reason":"%b"}\n\n' % reason] * 2


async def test_a_reading_that_takes_long_is_told_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview_feed, "TOLD_WITHIN_S", 0.01)
    answer = asyncio.Event()

    async def read() -> Mapping[str, object]:
        await answer.wait()
        return {}

    async with open_overview_feed(read) as feed:
        before = await some(feed, 2)
        answer.set()
        while (after := (await some(feed, 1))[0]) in before:
            pass

    assert before == [b'event: unavailable\ndata: {"reason":"PostgreSQL does not answer in time."}\n\n'] * 2
    assert after == b"event: overview\ndata: {}\n\n"


async def test_streams_end_with_the_feed_and_none_begins_later() -> None:
    async with asyncio.timeout(_LIMIT_S):
        async with open_overview_feed(Reads()) as feed:
            watching = asyncio.create_task(some(feed, 1_000_000))
            await some(feed, 1)
            feed.end()
            await watching
            assert await some(feed, 1) == []


async def test_there_is_a_most_of_viewers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview_feed, "_MOST_VIEWERS", 1)
    async with open_overview_feed(Reads()) as feed:
        feed.check_capacity()
        async with asyncio.timeout(_LIMIT_S), aclosing(feed.events()) as events:
            await anext(events)
            with pytest.raises(UnavailableError):
                feed.check_capacity()
        feed.check_capacity()
