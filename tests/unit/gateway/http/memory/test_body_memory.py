from __future__ import annotations

import pytest

from gateway.http.memory.body_memory import SMALL_BYTES, UNCOUNTED_BYTES, BodyMemory, BodyMemoryBudget
from gateway.http.problems import ProblemError

_MIB = 2**20


def a_budget(max_bytes: int = 64 * _MIB, max_body_bytes: int = 4 * _MIB) -> BodyMemoryBudget:
    return BodyMemoryBudget(max_bytes=max_bytes, max_body_bytes=max_body_bytes, read_timeout_s=10.0)


def reserved(budget: BodyMemoryBudget, caller: str, size: int) -> BodyMemory:
    memory = BodyMemory(budget, caller)
    memory.reserve(size)
    return memory


def fill(budget: BodyMemoryBudget, size: int, callers: list[str]) -> list[BodyMemory]:
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


def test_a_large_body_may_grow_to_all_that_its_caller_may_hold() -> None:
    budget = a_budget()
    memory = reserved(budget, "ada", SMALL_BYTES + 1)

    memory.resize(8 * _MIB)
    assert budget.large.held == 8 * _MIB
    memory.resize(16 * _MIB)
    assert budget.large.held == 16 * _MIB

    with pytest.raises(ProblemError, match="needs more"):
        memory.reserve(1)


def test_a_large_body_that_turns_out_small_stays_where_it_is_and_takes_less() -> None:
    budget = a_budget()
    memory = reserved(budget, "ada", 8 * _MIB)

    memory.resize(UNCOUNTED_BYTES)

    assert (budget.small.held, budget.large.held) == (0, UNCOUNTED_BYTES)


def test_a_body_that_is_refused_as_a_large_one_takes_nothing_as_a_small_one() -> None:
    budget = a_budget()
    memory = reserved(budget, "ada", SMALL_BYTES)

    with pytest.raises(ProblemError, match="needs more"):
        memory.resize(16 * _MIB + 1)

    assert (budget.small.held, budget.large.held) == (0, 0)


def test_after_a_large_body_was_released_a_small_one_is_counted_among_small_ones() -> None:
    budget = a_budget()
    memory = reserved(budget, "ada", SMALL_BYTES + 1)

    memory.release()
    memory.resize(SMALL_BYTES)

    assert (budget.small.held, budget.large.held) == (SMALL_BYTES, 0)


def test_a_body_that_took_nothing_releases_nothing() -> None:
    budget = a_budget()

    reserved(budget, "ada", UNCOUNTED_BYTES).release()

    assert budget.small.held == 0


@pytest.mark.parametrize(
    ("max_mib", "max_body_mib", "at_work", "small", "large"),
    [
        # Work on two bodies of 4 MiB takes 16 of 64; of the rest small ones have a quarter.
        (64, 4, 2, (12, 3), (36, 16)),
        # Work takes half at the most: on one body of 16 MiB, or of 2.
        (64, 16, 1, (8, 2), (24, 16)),
        (8, 2, 1, (1, 0.5), (3, 2)),
        (8, 1, 2, (1, 0.5), (3, 2)),
        # A small body always fits, even where that is more than a quarter; never more than half.
        (12, 1, 2, (2, 0.5), (6, 3)),
        (4, 1, 1, (0.5, 0.25), (1.5, 1)),
    ],
)
def test_all_is_shared_out_between_work_small_and_large_bodies(
    max_mib: int,
    max_body_mib: int,
    at_work: int,
    small: tuple[float, float],
    large: tuple[float, float],
) -> None:
    budget = a_budget(max_mib * _MIB, max_body_mib * _MIB)

    parts = [
        (each.max_bytes / _MIB, each.max_bytes_of_caller / _MIB) for each in (budget.small, budget.large)
    ]
    assert (budget.work_semaphore._value, *parts) == (at_work, small, large)
    assert budget.read_timeout_s == 10


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
