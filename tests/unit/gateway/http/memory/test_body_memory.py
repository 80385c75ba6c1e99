from __future__ import annotations

import pytest

from gateway.http.memory.body_memory import SMALL_BYTES, UNCOUNTED_BYTES, BodyMemory, MemoryBudget
from gateway.http.problems import ProblemError

_MIB = 2**20


def a_budget(max_bytes: int = 64 * _MIB, max_body_bytes: int = 4 * _MIB) -> MemoryBudget:
    return MemoryBudget(max_bytes=max_bytes, max_body_bytes=max_body_bytes, read_timeout_s=10.0)


def reserved(budget: MemoryBudget, caller: str, size: int) -> BodyMemory:
    memory = BodyMemory(budget, caller)
    memory.reserve(size)
    return memory


def fill(budget: MemoryBudget, size: int, callers: list[str]) -> list[BodyMemory]:
    """Reserve as many bodies of a size as each of these callers may hold."""
    bodies = []
    for caller in callers:
        try:
            while True:
                bodies.append(reserved(budget, caller, size))
        except ProblemError:
            continue
    return bodies


CALLERS = [f"caller-{number}" for number in range(50)]


@pytest.mark.parametrize("size", [UNCOUNTED_BYTES + 1, 245_000, SMALL_BYTES])
@pytest.mark.parametrize("caller", ["ada", CALLERS[0]])
def test_large_bodies_never_cause_a_small_one_to_be_refused(size: int, caller: str) -> None:
    budget = a_budget()
    fill(budget, SMALL_BYTES + 1, CALLERS)
    fill(budget, 4 * _MIB, CALLERS)

    reserved(budget, caller, size)

    with pytest.raises(ProblemError, match="hands full"):
        reserved(budget, caller, SMALL_BYTES + 1)


def test_small_bodies_past_their_part_are_counted_among_large_ones() -> None:
    budget = a_budget()

    bodies = fill(budget, SMALL_BYTES, ["ada"])

    of_small = budget.small.max_bytes_of_caller // SMALL_BYTES
    of_large = budget.large.max_bytes_of_caller // SMALL_BYTES
    assert len(bodies) == of_small + of_large
    assert (budget.small.held, budget.large.held) == (of_small * SMALL_BYTES, of_large * SMALL_BYTES)


def test_a_body_that_grows_large_moves_to_the_budget_of_large_ones() -> None:
    budget = a_budget()
    memory = reserved(budget, "ada", SMALL_BYTES)
    assert (budget.small.held, budget.large.held) == (SMALL_BYTES, 0)

    memory.reserve(1)
    assert (budget.small.held, budget.large.held) == (0, SMALL_BYTES + 1)

    memory.release()
    assert (budget.small.held, budget.large.held) == (0, 0)


def test_a_body_below_the_uncounted_size_is_not_counted() -> None:
    budget = a_budget()

    memory = reserved(budget, "ada", UNCOUNTED_BYTES)
    assert budget.small.held == 0

    memory.reserve(1)
    assert budget.small.held == UNCOUNTED_BYTES + 1


@pytest.mark.parametrize("max_body_bytes", [1024, 100_000, _MIB, 4 * _MIB, 16 * _MIB, 64 * _MIB])
@pytest.mark.parametrize("times", [4, 5, 16, 100])
def test_the_largest_body_fits_and_the_parts_sum_to_the_budget_at_most(
    max_body_bytes: int, times: int
) -> None:
    max_bytes = max(times * max_body_bytes, _MIB)
    budget = a_budget(max_bytes, max_body_bytes)

    reserved(budget, "ada", max_body_bytes)

    at_work = budget.work_semaphore._value
    assert at_work >= 1
    parts = at_work * 2 * max_body_bytes + budget.small.max_bytes + budget.large.max_bytes
    assert parts <= max_bytes
