from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest

from gateway.limits.fair_semaphore import FairSemaphore, QueueEntry
from shared.domain.errors import RateLimitedError


class Queue:
    """Waiters for a semaphore with one slot, which the test holds until all of them are queued."""

    def __init__(self, *, max_queued: int = 1000) -> None:
        self.semaphore = FairSemaphore(1, max_queued=max_queued, refusal="Too many.")
        self.admitted: list[str] = []
        self.refused: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._held = AsyncExitStack()

    async def hold(self) -> None:
        await self._held.enter_async_context(self.semaphore.slot(QueueEntry()))

    async def add(self, label: str, *keys: str, has_priority: bool = False) -> None:
        entry = QueueEntry(frozenset(keys), has_priority)
        self.tasks[label] = asyncio.create_task(self._wait(label, entry))
        await asyncio.sleep(0)  # it is queued now, or was refused

    async def release(self) -> None:
        """Admit all, one after the other."""
        await self._held.aclose()
        async with asyncio.timeout(10):
            await asyncio.gather(*self.tasks.values(), return_exceptions=True)

    async def _wait(self, label: str, entry: QueueEntry) -> None:
        try:
            async with self.semaphore.slot(entry):
                self.admitted.append(label)
                for _ in range(10):
                    await asyncio.sleep(0)  # others come meanwhile
        except RateLimitedError:
            self.refused.append(label)


async def a_held_queue(*, max_queued: int = 1000) -> Queue:
    queue = Queue(max_queued=max_queued)
    await queue.hold()
    return queue


async def test_waiters_without_shared_keys_are_admitted_in_order() -> None:
    queue = await a_held_queue()
    for label in "abc":
        await queue.add(label, label)

    await queue.release()

    assert queue.admitted == ["a", "b", "c"]


async def test_no_more_than_the_number_of_slots_are_admitted_at_a_time() -> None:
    semaphore = FairSemaphore(2, max_queued=10, refusal="")
    inside, most = 0, 0

    async def work() -> None:
        nonlocal inside, most
        async with semaphore.slot(QueueEntry()):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(12)))

    assert most == 2


async def test_a_waiter_behind_a_hundred_of_one_key_is_admitted_second() -> None:
    queue = await a_held_queue()
    for number in range(100):
        await queue.add(f"many-{number}", "203.0.113.9", f"account-{number}")
    await queue.add("one", "192.0.2.1", "ada")

    await queue.release()

    assert queue.admitted.index("one") == 1
    assert len(queue.admitted) == 101


async def test_waiters_that_arrive_later_do_not_wait_for_the_many_of_one_key() -> None:
    queue = await a_held_queue()
    for number in range(50):
        await queue.add(f"many-{number}", "203.0.113.9")
    adding = asyncio.create_task(add_one_after_the_other(queue))

    await queue.release()
    await adding

    positions = [queue.admitted.index(f"one-{number}") for number in range(5)]
    # The holder of the slot and one of the many, whose round it is: two at the most are between them.
    assert all(later - earlier <= 3 for earlier, later in pairwise(positions))


async def add_one_after_the_other(queue: Queue) -> None:
    for number in range(5):
        await queue.add(f"one-{number}", f"192.0.2.{number}")
        await queue.tasks[f"one-{number}"]


@pytest.mark.parametrize("shared_key", ["an account", "a site"])
async def test_many_keys_with_another_key_in_common_count_as_one(shared_key: str) -> None:
    queue = await a_held_queue()
    for number in range(100):
        await queue.add(f"many-{number}", f"address-{number}", shared_key)
    await queue.add("one", "192.0.2.1", "ada")

    await queue.release()

    assert queue.admitted.index("one") == 1


async def test_two_keys_with_many_waiters_alternate() -> None:
    queue = await a_held_queue()
    for number in range(3):
        await queue.add(f"a-{number}", "a")
    for number in range(3):
        await queue.add(f"b-{number}", "b")

    await queue.release()

    assert queue.admitted == ["a-0", "b-0", "a-1", "b-1", "a-2", "b-2"]


async def test_priority_goes_first_within_a_round_only() -> None:
    queue = await a_held_queue()
    for number in range(3):
        await queue.add(f"stranger-{number}", f"{number}")
    for number in range(2):
        await queue.add(f"known-{number}", "known", has_priority=True)

    await queue.release()

    assert queue.admitted == ["known-0", "stranger-0", "stranger-1", "stranger-2", "known-1"]


async def test_when_the_queue_is_full_the_last_of_the_many_is_refused_for_another_key() -> None:
    queue = await a_held_queue(max_queued=4)
    for number in range(4):
        await queue.add(f"many-{number}", "203.0.113.9")
    for label in ("one", "another"):
        await queue.add(label, label)

    await queue.release()

    assert queue.refused == ["many-3", "many-2"]
    assert sorted(queue.admitted) == ["another", "many-0", "many-1", "one"]


async def test_another_of_the_many_is_refused_when_the_queue_is_full() -> None:
    queue = await a_held_queue(max_queued=4)
    for number in range(6):
        await queue.add(f"many-{number}", "203.0.113.9")

    await queue.release()

    assert queue.refused == ["many-4", "many-5"]
    assert queue.admitted == [f"many-{number}" for number in range(4)]


async def test_without_shared_keys_the_last_is_refused_when_the_queue_is_full() -> None:
    queue = await a_held_queue(max_queued=2)
    for label in "abc":
        await queue.add(label, label)

    await queue.release()

    assert (queue.admitted, queue.refused) == (["a", "b"], ["c"])


async def test_a_cancelled_waiter_leaves_the_queue() -> None:
    queue = await a_held_queue(max_queued=3)
    for label in "abc":
        await queue.add(label, label)
    queue.tasks["b"].cancel()
    await asyncio.sleep(0)
    await queue.add("d", "d")

    await queue.release()

    assert (queue.admitted, queue.refused) == (["a", "c", "d"], [])


async def test_a_waiter_cancelled_as_it_is_admitted_keeps_no_slot() -> None:
    queue = await a_held_queue()
    for label in "ab":
        await queue.add(label, label)
    releasing = asyncio.create_task(queue.release())
    await asyncio.sleep(0)
    queue.tasks["a"].cancel()

    await releasing

    assert "b" in queue.admitted
    await queue.hold()
    await queue.release()
