"""Retries are settled alone: who waits for whom."""

from __future__ import annotations

import asyncio
from typing import Final

from processor.deliveries.isolation import Isolation
from shared.events import EcgKey

_LIMIT_S: Final = 5
_RETRIED: Final = EcgKey("ada", "10")


class Batch:
    """Deliveries that are settled in steps; it records in a common list what it does."""

    def __init__(self, name: str, done: list[str], *retried: EcgKey) -> None:
        self._name = name
        self._done = done
        self._retried = retried
        self.may_end = asyncio.Event()

    async def settle_together(self) -> tuple[EcgKey, ...]:
        self._done.append(f"{self._name} together")
        await self.may_end.wait()
        return self._retried

    async def settle_alone(self, key: EcgKey) -> None:
        self._done.append(f"{self._name} alone: {key.id}")

    async def settle(self, isolation: Isolation) -> None:
        await isolation.isolate_retries(self.settle_together, self.settle_alone)


async def settled(*tasks: asyncio.Task[None]) -> None:
    async with asyncio.timeout(_LIMIT_S):
        await asyncio.gather(*tasks)


async def all_have_gone_as_far_as_they_can() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_was_not_tried_before_is_settled_together() -> None:
    done: list[str] = []
    isolation, batches = Isolation(), [Batch("first", done), Batch("second", done)]

    tasks = [asyncio.create_task(batch.settle(isolation)) for batch in batches]
    await all_have_gone_as_far_as_they_can()

    assert done == ["first together", "second together"]
    for batch in batches:
        batch.may_end.set()
    await settled(*tasks)


async def test_a_retry_waits_for_the_last_of_the_others() -> None:
    done: list[str] = []
    isolation, retrying = Isolation(), Batch("retrying", done, _RETRIED)
    others = [Batch("second", done), Batch("third", done)]
    tasks = [asyncio.create_task(batch.settle(isolation)) for batch in (retrying, *others)]
    await all_have_gone_as_far_as_they_can()

    for batch in (retrying, others[0]):
        batch.may_end.set()
        await all_have_gone_as_far_as_they_can()
        assert "retrying alone: 10" not in done
    others[1].may_end.set()
    await settled(*tasks)

    assert done[-1] == "retrying alone: 10"


async def test_a_retry_that_waits_goes_before_batches_that_come_later() -> None:
    done: list[str] = []
    isolation, retrying, earlier, later = (
        Isolation(),
        Batch("retrying", done, _RETRIED),
        Batch("earlier", done),
        Batch("later", done),
    )
    tasks = [asyncio.create_task(batch.settle(isolation)) for batch in (retrying, earlier)]
    await all_have_gone_as_far_as_they_can()
    retrying.may_end.set()
    await all_have_gone_as_far_as_they_can()

    tasks.append(asyncio.create_task(later.settle(isolation)))
    await all_have_gone_as_far_as_they_can()
    assert "later together" not in done
    earlier.may_end.set()
    later.may_end.set()
    await settled(*tasks)

    assert done == ["retrying together", "earlier together", "retrying alone: 10", "later together"]


async def test_it_can_be_held_exclusively_before_anything_was_shared() -> None:
    async with asyncio.timeout(_LIMIT_S), Isolation().exclusive():
        pass
