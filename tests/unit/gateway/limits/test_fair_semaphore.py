from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest

from gateway.limits.fair_semaphore import Applicant, FairSemaphore
from shared.domain.errors import TooOftenError


class Queue:
    """Applicants for a semaphore with one place, which a test holds until all wait."""

    def __init__(self, *, max_waiting: int = 1000) -> None:
        self.semaphore = FairSemaphore(1, max_waiting=max_waiting, refusal="Too many.")
        self.let_in: list[str] = []
        self.refused: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._held = AsyncExitStack()

    async def hold(self) -> None:
        await self._held.enter_async_context(self.semaphore.place(Applicant()))

    async def add(self, label: str, *names: str, is_known: bool = False) -> None:
        applicant = Applicant(frozenset(names), is_known)
        self.tasks[label] = asyncio.create_task(self._apply(label, applicant))
        await asyncio.sleep(0)  # it waits now, or was refused

    async def release(self) -> None:
        """Let all in, one after the other."""
        await self._held.aclose()
        async with asyncio.timeout(10):
            await asyncio.gather(*self.tasks.values(), return_exceptions=True)

    async def _apply(self, label: str, applicant: Applicant) -> None:
        try:
            async with self.semaphore.place(applicant):
                self.let_in.append(label)
                for _ in range(10):
                    await asyncio.sleep(0)  # others come meanwhile
        except TooOftenError:
            self.refused.append(label)


async def held(*, max_waiting: int = 1000) -> Queue:
    queue = Queue(max_waiting=max_waiting)
    await queue.hold()
    return queue


async def test_who_comes_first_is_let_in_first_where_nobody_has_anything_in_common() -> None:
    queue = await held()
    for label in "abc":
        await queue.add(label, label)

    await queue.release()

    assert queue.let_in == ["a", "b", "c"]


async def test_as_many_as_there_are_places_are_let_in_at_once_and_no_more() -> None:
    semaphore = FairSemaphore(2, max_waiting=10, refusal="")
    inside, most = 0, 0

    async def work() -> None:
        nonlocal inside, most
        async with semaphore.place(Applicant()):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(work() for _ in range(12)))

    assert most == 2


async def test_one_who_comes_after_a_hundred_of_one_name_is_let_in_as_the_second() -> None:
    queue = await held()
    for number in range(100):
        await queue.add(f"many-{number}", "203.0.113.9", f"account-{number}")
    await queue.add("one", "192.0.2.1", "ada")

    await queue.release()

    assert queue.let_in.index("one") == 1
    assert len(queue.let_in) == 101


async def test_those_who_come_while_the_many_are_let_in_need_not_wait_for_them_either() -> None:
    queue = await held()
    for number in range(50):
        await queue.add(f"many-{number}", "203.0.113.9")
    arriving = asyncio.create_task(arrive_one_after_the_other(queue))

    await queue.release()
    await arriving

    positions = [queue.let_in.index(f"one-{number}") for number in range(5)]
    # Who holds the place, and one of the many whose round it is: two at the most are between them.
    assert all(later - earlier <= 3 for earlier, later in pairwise(positions))


async def arrive_one_after_the_other(queue: Queue) -> None:
    for number in range(5):
        await queue.add(f"one-{number}", f"192.0.2.{number}")
        await queue.tasks[f"one-{number}"]


@pytest.mark.parametrize("shared_name", ["an account", "a site"])
async def test_many_names_that_have_another_in_common_are_one(shared_name: str) -> None:
    queue = await held()
    for number in range(100):
        await queue.add(f"many-{number}", f"address-{number}", shared_name)
    await queue.add("one", "192.0.2.1", "ada")

    await queue.release()

    assert queue.let_in.index("one") == 1


async def test_of_two_sources_with_many_each_is_let_in_in_turn() -> None:
    queue = await held()
    for number in range(3):
        await queue.add(f"a-{number}", "a")
    for number in range(3):
        await queue.add(f"b-{number}", "b")

    await queue.release()

    assert queue.let_in == ["a-0", "b-0", "a-1", "b-1", "a-2", "b-2"]


async def test_who_is_known_goes_first_within_a_round_and_not_before_it() -> None:
    queue = await held()
    for number in range(3):
        await queue.add(f"stranger-{number}", f"{number}")
    for number in range(2):
        await queue.add(f"known-{number}", "known", is_known=True)

    await queue.release()

    assert queue.let_in == ["known-0", "stranger-0", "stranger-1", "stranger-2", "known-1"]


async def test_when_all_waiting_places_are_taken_the_last_of_the_many_makes_room_for_one() -> None:
    queue = await held(max_waiting=4)
    for number in range(4):
        await queue.add(f"many-{number}", "203.0.113.9")
    for label in ("one", "another"):
        await queue.add(label, label)

    await queue.release()

    assert queue.refused == ["many-3", "many-2"]
    assert sorted(queue.let_in) == ["another", "many-0", "many-1", "one"]


async def test_one_more_of_the_many_is_refused_itself() -> None:
    queue = await held(max_waiting=4)
    for number in range(6):
        await queue.add(f"many-{number}", "203.0.113.9")

    await queue.release()

    assert queue.refused == ["many-4", "many-5"]
    assert queue.let_in == [f"many-{number}" for number in range(4)]


async def test_where_all_are_different_who_comes_last_is_refused() -> None:
    queue = await held(max_waiting=2)
    for label in "abc":
        await queue.add(label, label)

    await queue.release()

    assert (queue.let_in, queue.refused) == (["a", "b"], ["c"])


async def test_who_gives_up_waiting_leaves_the_place_to_others() -> None:
    queue = await held(max_waiting=3)
    for label in "abc":
        await queue.add(label, label)
    queue.tasks["b"].cancel()
    await asyncio.sleep(0)
    await queue.add("d", "d")

    await queue.release()

    assert (queue.let_in, queue.refused) == (["a", "c", "d"], [])


async def test_who_gives_up_just_as_they_are_let_in_keeps_no_place() -> None:
    queue = await held()
    for label in "ab":
        await queue.add(label, label)
    releasing = asyncio.create_task(queue.release())
    await asyncio.sleep(0)
    queue.tasks["a"].cancel()

    await releasing

    assert "b" in queue.let_in
    await queue.hold()
    await queue.release()
