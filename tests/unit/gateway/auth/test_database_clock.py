from __future__ import annotations

import pytest

from gateway.auth.database_clock import LEEWAY_S, DatabaseClock
from shared.domain.errors import UnavailableError
from tests.support.logs import capture_logs


class HandSet:
    """A clock that a test moves."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def monotonic() -> HandSet:
    return HandSet(100.0)


@pytest.fixture
def own() -> HandSet:
    return HandSet(1_700_000_000.0)


@pytest.fixture
def clock(monotonic: HandSet, own: HandSet) -> DatabaseClock:
    return DatabaseClock(monotonic=monotonic, own=own)


def test_it_knows_no_time_before_it_was_set(clock: DatabaseClock) -> None:
    with pytest.raises(UnavailableError):
        clock.now()


def test_it_goes_on_from_what_the_database_said(clock: DatabaseClock, monotonic: HandSet) -> None:
    clock.set(1_700_000_000.0, asked_s=100.0, answered_s=100.0)

    monotonic.now_s += 2.5

    assert clock.now() == 1_700_000_002.5


def test_its_day_is_that_of_utc(clock: DatabaseClock) -> None:
    clock.set(1_700_000_000.0, asked_s=100.0, answered_s=100.0)

    assert clock.today().isoformat() == "2023-11-14T22:13:20+00:00"


def test_the_clock_of_this_machine_does_not_matter(clock: DatabaseClock, own: HandSet) -> None:
    clock.set(1_700_000_000.0, asked_s=100.0, answered_s=100.0)

    own.now_s -= 7200

    assert clock.now() == 1_700_000_000.0


def test_an_answer_that_took_long_moves_it_no_further_than_the_answer_proves(clock: DatabaseClock) -> None:
    clock.set(1_700_000_000.0, asked_s=100.0, answered_s=100.0)

    clock.set(1_700_000_001.0, asked_s=90.0, answered_s=106.0)
    assert clock.now() == 1_700_000_000.0

    # By its answer, what is 100 here is between 1,700,000,003 and 1,700,000,009 there.
    clock.set(1_700_000_005.0, asked_s=96.0, answered_s=102.0)
    assert clock.now() == 1_700_000_003.0


@pytest.mark.parametrize("step_s", [-7200.0, -2.0, 2.0, 7200.0])
def test_it_follows_a_database_whose_clock_was_set(clock: DatabaseClock, step_s: float) -> None:
    clock.set(1_700_000_000.0, asked_s=100.0, answered_s=100.0)

    clock.set(1_700_000_000.0 + step_s, asked_s=100.0, answered_s=100.0)

    assert clock.now() == 1_700_000_000.0 + step_s


@pytest.mark.parametrize(
    ("apart_s", "count"), [(0, 0), (LEEWAY_S - 1, 0), (LEEWAY_S + 1, 1), (-LEEWAY_S - 1, 1)]
)
def test_a_machine_whose_clock_is_wrong_is_told_of_once(
    clock: DatabaseClock, own: HandSet, apart_s: float, count: int
) -> None:
    own.now_s += apart_s

    with capture_logs() as records:
        for _ in range(3):
            clock.set(1_700_000_000.0, asked_s=100.0, answered_s=100.0)

    assert [record["ahead_s"] for record in records] == [-apart_s] * count
