from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.ecgs.lookup_batcher import Lookups, open_lookups
from shared.domain.errors import UnavailableError
from tests.support.builders import a_queued_state

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gateway.ecgs.lookup_batcher import Owned
    from shared.ports.ecgs import EcgState


class SlowStore:
    """A store whose look-ups take until they are let go; ECGs whose id begins with "no" are not there."""

    def __init__(self) -> None:
        self.asked: list[list[Owned]] = []
        self.failure: Exception | None = None
        self.may_answer = asyncio.Event()

    async def find(self, owned: Sequence[Owned]) -> dict[Owned, EcgState]:
        self.asked.append(list(owned))
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        return {one: a_queued_state(one[1]) for one in owned if not one[1].startswith("no")}

    async def until_asked(self, count: int) -> None:
        """Wait until so many queries went out."""
        async with asyncio.timeout(5):
            while len(self.asked) < count:
                await asyncio.sleep(0)


@pytest.fixture
def store() -> SlowStore:
    return SlowStore()


@pytest.fixture
async def lookups(store: SlowStore) -> AsyncIterator[Lookups]:
    unchecked: Any = store
    async with open_lookups(unchecked) as lookups:
        yield lookups


def ask(lookups: Lookups, *ids: str) -> list[asyncio.Task[EcgState | None]]:
    return [asyncio.create_task(lookups.state(("ada", ecg_id))) for ecg_id in ids]


async def test_what_comes_in_while_queries_are_under_way_goes_out_with_one(
    store: SlowStore, lookups: Lookups
) -> None:
    asked = []
    for count, ecg_id in enumerate(("1", "2"), start=1):
        asked += ask(lookups, ecg_id)
        await store.until_asked(count)
    asked += ask(lookups, "3", "4", "none", "4")
    await asyncio.sleep(0)

    store.may_answer.set()
    states = await asyncio.gather(*asked)

    assert [state and state.id for state in states] == ["1", "2", "3", "4", None, "4"]
    assert store.asked == [[("ada", "1")], [("ada", "2")], [("ada", "3"), ("ada", "4"), ("ada", "none")]]


async def test_who_asks_after_a_query_went_out_is_not_answered_from_it(
    store: SlowStore, lookups: Lookups
) -> None:
    [first] = ask(lookups, "1")
    await store.until_asked(1)
    [second] = ask(lookups, "1")
    await store.until_asked(2)

    store.may_answer.set()

    assert [await first, await second] == [a_queued_state("1")] * 2


async def test_one_that_gives_up_takes_nobody_along(store: SlowStore, lookups: Lookups) -> None:
    impatient, patient = ask(lookups, "1", "1")
    await store.until_asked(1)

    impatient.cancel()
    store.may_answer.set()

    assert await patient == a_queued_state("1")
    assert impatient.cancelled()


async def test_a_failure_is_told_to_those_who_asked_and_to_nobody_after(
    store: SlowStore, lookups: Lookups
) -> None:
    store.failure = UnavailableError("away")
    asked = ask(lookups, "1", "2")
    await store.until_asked(1)
    store.may_answer.set()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)

    store.failure = None

    assert [type(outcome) for outcome in outcomes] == [UnavailableError] * 2
    assert await lookups.state(("ada", "1")) == a_queued_state("1")
