from __future__ import annotations

import asyncio

import pytest

from gateway.counters import MemoryCounters
from gateway.guesses import FREE_TRIES, LONGEST_WAIT_S, Guesses
from shared.domain.errors import TooOftenError


class EndlessPauses(MemoryCounters):
    """Counters in which a test ends each pause itself."""

    def end_pauses(self) -> None:
        for key in [key for key in self._counters if key.startswith("pause/")]:
            del self._counters[key]


async def wait_told(guesses: Guesses, name: str = "ada", address: str = "192.0.2.1") -> float | None:
    try:
        await guesses.begin(name, address)
    except TooOftenError as error:
        return error.retry_after_s
    return None


async def test_a_few_tries_are_free_and_then_there_is_a_pause() -> None:
    guesses = Guesses(MemoryCounters())

    waits = [await wait_told(guesses) for _ in range(FREE_TRIES + 1)]

    assert waits[:FREE_TRIES] == [None] * FREE_TRIES
    assert waits[FREE_TRIES] == 1


async def test_each_failure_makes_the_pause_longer_up_to_a_longest() -> None:
    counters = EndlessPauses()
    guesses = Guesses(counters)
    waits = []
    for _ in range(60):
        assert await wait_told(guesses) is None
        waits.append(await wait_told(guesses) or 0)
        counters.end_pauses()
        if not waits[-1]:
            waits.pop()

    assert waits[:9] == pytest.approx([1, 2, 4, 8, 16, 32, 64, 128, 256], abs=1)
    assert waits[9:] == pytest.approx([LONGEST_WAIT_S] * len(waits[9:]), abs=1)


async def test_many_at_a_time_get_no_more_tries_than_one_after_the_other() -> None:
    guesses = Guesses(MemoryCounters())

    waits = await asyncio.gather(*(wait_told(guesses) for _ in range(100)))

    assert waits.count(None) == FREE_TRIES


async def test_a_pause_holds_for_one_account_from_one_address() -> None:
    guesses = Guesses(MemoryCounters())
    for _ in range(20):
        await wait_told(guesses)

    assert await wait_told(guesses) is not None
    assert await wait_told(guesses, address="192.0.2.2") is None
    assert await wait_told(guesses, name="bob") is None


async def test_a_success_forgets_the_failures() -> None:
    guesses = Guesses(MemoryCounters())
    for _ in range(FREE_TRIES - 1):
        await wait_told(guesses)

    await guesses.succeeded("ada", "192.0.2.1")

    assert [await wait_told(guesses) for _ in range(FREE_TRIES)] == [None] * FREE_TRIES


async def test_names_of_any_length_and_sort_are_counted() -> None:
    guesses = Guesses(MemoryCounters())

    assert await wait_told(guesses, name="x" * 100_000) is None
    assert await wait_told(guesses, name="\0\u2028 é") is None
