from __future__ import annotations

import pytest

from gateway.auth.database_clock import LEEWAY_S, DatabaseClock
from shared.domain.errors import UnavailableError
from tests.support.logs import capture_logs


class ManualClock:
    """A clock that a test moves."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def monotonic() -> ManualClock:
    return ManualClock(100.0)


@pytest.fixture
def system() -> ManualClock:
    return ManualClock(1_700_000_000.0)


@pytest.fixture
def clock(monotonic: ManualClock, system: ManualClock) -> DatabaseClock:
    return DatabaseClock(monotonic=monotonic, system=system)


def test_it_knows_no_time_before_it_is_synchronized(clock: DatabaseClock) -> None:
    with pytest.raises(UnavailableError):
        clock.now()


def test_it_extrapolates_from_the_database_time(clock: DatabaseClock, monotonic: ManualClock) -> None:
    clock.synchronize(1_700_000_000.0, asked_s=100.0, answered_s=100.0)

    monotonic.now_s += 2.5

    assert clock.now() == 1_700_000_002.5


def test_the_first_time_is_taken_for_the_middle_between_request_and_response(clock: DatabaseClock) -> None:
    clock.synchronize(1_700_000_000.0, asked_s=96.0, answered_s=106.0)

    assert clock.now() == 1_699_999_999.0


def test_its_datetime_is_in_utc(clock: DatabaseClock) -> None:
    clock.synchronize(1_700_000_000.0, asked_s=100.0, answered_s=100.0)

    assert clock.utc_now().isoformat() == "2023-11-14T22:13:20+00:00"


def test_the_system_clock_does_not_matter(clock: DatabaseClock, system: ManualClock) -> None:
    clock.synchronize(1_700_000_000.0, asked_s=100.0, answered_s=100.0)

    system.now_s -= 7200

    assert clock.now() == 1_700_000_000.0


def test_a_slow_reply_moves_it_no_further_than_the_reply_proves(clock: DatabaseClock) -> None:
    clock.synchronize(1_700_000_000.0, asked_s=100.0, answered_s=100.0)

    clock.synchronize(1_700_000_001.0, asked_s=90.0, answered_s=106.0)
    assert clock.now() == 1_700_000_000.0

    # By its answer, what is 100 here is between 1,700,000,003 and 1,700,000,009 there.
    clock.synchronize(1_700_000_005.0, asked_s=96.0, answered_s=102.0)
    assert clock.now() == 1_700_000_003.0


@pytest.mark.parametrize("step_s", [-7200.0, -2.0, 2.0, 7200.0])
def test_it_follows_a_step_of_the_database_clock(clock: DatabaseClock, step_s: float) -> None:
    clock.synchronize(1_700_000_000.0, asked_s=100.0, answered_s=100.0)

    clock.synchronize(1_700_000_000.0 + step_s, asked_s=100.0, answered_s=100.0)

    assert clock.now() == 1_700_000_000.0 + step_s


@pytest.mark.parametrize(
    ("difference_s", "count"), [(0, 0), (LEEWAY_S, 0), (-LEEWAY_S, 0), (LEEWAY_S + 1, 1), (-LEEWAY_S - 1, 1)]
)
def test_a_wrong_system_clock_is_logged_once(
    clock: DatabaseClock, system: ManualClock, difference_s: float, count: int
) -> None:
    system.now_s += difference_s

    with capture_logs() as records:
        for _ in range(3):
            clock.synchronize(1_700_000_000.0, asked_s=100.0, answered_s=100.0)

    assert [record["postgres_ahead_s"] for record in records] == [-difference_s] * count
