from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from gateway.ecgs.lookup_batcher import LookupBatcher, open_lookup_batcher
from shared.domain.errors import UnavailableError
from tests.support.builders import a_queued_state

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from gateway.ecgs.lookup_batcher import OwnedEcgId
    from shared.ports.ecgs import EcgState


class GatedStore:
    """A store that answers once its gate is open; it has no ECG whose id begins with "no"."""

    def __init__(self) -> None:
        self.asked: list[list[OwnedEcgId]] = []
        self.failure: Exception | None = None
        self.gate = asyncio.Event()

    async def find(self, owned: Sequence[OwnedEcgId]) -> dict[OwnedEcgId, EcgState]:
        self.asked.append(list(owned))
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return {one: a_queued_state(one[1]) for one in owned if not one[1].startswith("no")}

    async def until_asked(self, count: int) -> None:
        """Wait until so many queries were made."""
        async with asyncio.timeout(5):
            while len(self.asked) < count:
                await asyncio.sleep(0)


@pytest.fixture
def store() -> GatedStore:
    return GatedStore()


@pytest.fixture
async def lookups(store: GatedStore) -> AsyncIterator[LookupBatcher]:
    unchecked: Any = store
    async with open_lookup_batcher(unchecked) as lookups:
        yield lookups


def ask(lookups: LookupBatcher, *ids: str) -> list[asyncio.Task[EcgState | None]]:
    return [asyncio.create_task(lookups.load(("ada", ecg_id))) for ecg_id in ids]


async def test_lookups_made_during_two_queries_share_the_next_query(
    store: GatedStore, lookups: LookupBatcher
) -> None:
    asked = []
    for count, ecg_id in enumerate(("1", "2"), start=1):
        asked += ask(lookups, ecg_id)
        await store.until_asked(count)
    asked += ask(lookups, "3", "4", "none", "4")
    await asyncio.sleep(0)

    store.gate.set()
    states = await asyncio.gather(*asked)

    assert [state and state.id for state in states] == ["1", "2", "3", "4", None, "4"]
    assert store.asked == [[("ada", "1")], [("ada", "2")], [("ada", "3"), ("ada", "4"), ("ada", "none")]]


async def test_a_lookup_made_after_a_query_began_is_not_answered_from_it(
    store: GatedStore, lookups: LookupBatcher
) -> None:
    [first] = ask(lookups, "1")
    await store.until_asked(1)
    [second] = ask(lookups, "1")
    await store.until_asked(2)

    store.gate.set()

    assert [await first, await second] == [a_queued_state("1")] * 2


async def test_a_cancelled_lookup_cancels_no_other(store: GatedStore, lookups: LookupBatcher) -> None:
    cancelled, waiting = ask(lookups, "1", "1")
    await store.until_asked(1)

    cancelled.cancel()
    store.gate.set()

    assert await waiting == a_queued_state("1")
    assert cancelled.cancelled()


async def test_a_failure_reaches_the_lookups_of_its_query_and_no_later_one(
    store: GatedStore, lookups: LookupBatcher
) -> None:
    store.failure = UnavailableError("away")
    asked = ask(lookups, "1", "2")
    await store.until_asked(1)
    store.gate.set()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)

    store.failure = None

    assert [type(outcome) for outcome in outcomes] == [UnavailableError] * 2
    assert await lookups.load(("ada", "1")) == a_queued_state("1")
