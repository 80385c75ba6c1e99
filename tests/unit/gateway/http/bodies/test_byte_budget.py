from __future__ import annotations

from http import HTTPStatus
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from gateway.http.bodies import byte_budget
from gateway.http.bodies.byte_budget import ByteBudget, Reservation
from gateway.http.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable

_RESEND_WITHIN_S = 5.0


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


class FakeDeadline:
    """Remembers whether it was revoked."""

    def __init__(self) -> None:
        self.is_over = False
        self.is_revoked = False

    def revoke(self) -> None:
        self.is_over = self.is_revoked = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(byte_budget, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


@pytest.fixture
def budget() -> ByteBudget:
    """Room for 100 bytes, 40 of one caller."""
    return ByteBudget(max_bytes=100, max_bytes_of_caller=40, resend_within_s=_RESEND_WITHIN_S)


@pytest.fixture
def arriving(budget: ByteBudget) -> Callable[[str, int], tuple[Reservation, FakeDeadline]]:
    """Begin a body that is on its way and holds so many bytes."""

    def begin(caller: str, size: int) -> tuple[Reservation, FakeDeadline]:
        deadline = FakeDeadline()
        reservation = Reservation(budget, caller, deadline)  # type: ignore[arg-type]
        reservation.take(size)
        return reservation, deadline

    return begin


def held(budget: ByteBudget, caller: str, size: int) -> Reservation:
    """What a whole body of a caller holds."""
    reservation = Reservation(budget, caller, None)
    reservation.take(size)
    return reservation


def refusal(reservation: Reservation, count: int) -> HTTPStatus:
    before = reservation.budget.held
    with pytest.raises(ProblemError) as caught:
        reservation.take(count)
    assert reservation.budget.held == before
    return caught.value.status


def test_all_together_and_each_caller_have_a_limit(budget: ByteBudget) -> None:
    of_ada = held(budget, "ada", 30)
    assert refusal(held(budget, "ada", 10), 1) is HTTPStatus.SERVICE_UNAVAILABLE
    held(budget, "bob", 40)
    assert refusal(held(budget, "eve", 20), 1) is HTTPStatus.SERVICE_UNAVAILABLE

    of_ada.release()

    held(budget, "eve", 20)
    assert budget.held == 90


def test_what_no_caller_may_hold_is_refused_for_good(budget: ByteBudget) -> None:
    assert refusal(held(budget, "ada", 40), 1) is HTTPStatus.REQUEST_ENTITY_TOO_LARGE


def test_what_is_released_twice_is_free_once(budget: ByteBudget) -> None:
    held(budget, "bob", 10)
    reservation = held(budget, "ada", 10)

    reservation.release()
    reservation.release()

    assert budget.held == 10


def test_a_caller_who_holds_nothing_any_more_is_forgotten(
    budget: ByteBudget, arriving: Callable[[str, int], tuple[Reservation, FakeDeadline]]
) -> None:
    for number in range(3):
        reservation, _ = arriving(f"caller-{number}", 10)
        reservation.release()

    assert (budget.held, len(budget._held_of), len(budget._arriving)) == (0, 0, 0)


def test_a_body_that_holds_bytes_for_too_long_is_ended_when_others_need_the_room(
    budget: ByteBudget, arriving: Callable[[str, int], tuple[Reservation, FakeDeadline]], clock: Clock
) -> None:
    of_all = [arriving(caller, 20) for caller in ("ada", "bob", "eve", "joe", "kim")]
    clock.now_s += _RESEND_WITHIN_S + 0.1

    held(budget, "zoe", 40)

    assert [deadline.is_revoked for _, deadline in of_all] == [True, True, False, False, False]
    assert [reservation.size for reservation, _ in of_all] == [0, 0, 20, 20, 20]
    assert budget.held == 100


def test_no_body_is_ended_that_comes_fast_enough_or_while_there_is_room(
    budget: ByteBudget, arriving: Callable[[str, int], tuple[Reservation, FakeDeadline]], clock: Clock
) -> None:
    slow = [arriving(caller, 20) for caller in ("ada", "bob")]
    clock.now_s += _RESEND_WITHIN_S + 0.1
    fast = [arriving(caller, 20) for caller in ("eve", "joe", "kim")]
    clock.now_s += _RESEND_WITHIN_S - 0.1

    held(budget, "zoe", 40)

    assert refusal(held(budget, "zac", 0), 1) is HTTPStatus.SERVICE_UNAVAILABLE
    assert all(deadline.is_revoked for _, deadline in slow)
    assert not any(deadline.is_revoked for _, deadline in fast)


def test_a_body_that_is_here_as_a_whole_is_not_ended(
    budget: ByteBudget, arriving: Callable[[str, int], tuple[Reservation, FakeDeadline]], clock: Clock
) -> None:
    of_all = [arriving(caller, 25) for caller in ("ada", "bob", "eve", "joe")]
    for _, deadline in of_all:
        deadline.is_over = True
    clock.now_s += 100

    assert refusal(held(budget, "zoe", 0), 1) is HTTPStatus.SERVICE_UNAVAILABLE
    assert not any(deadline.is_revoked for _, deadline in of_all)


def test_the_slowest_is_not_ended_to_make_room_for_itself(
    arriving: Callable[[str, int], tuple[Reservation, FakeDeadline]], clock: Clock
) -> None:
    slowest, deadline = arriving("ada", 20)
    others = [arriving(caller, 40) for caller in ("bob", "eve")]
    clock.now_s += 100

    assert refusal(slowest, 1) is HTTPStatus.SERVICE_UNAVAILABLE
    assert not any(deadline.is_revoked for deadline in [deadline, *(deadline for _, deadline in others)])


def test_a_caller_who_holds_too_much_ends_bodies_of_their_own_alone(
    budget: ByteBudget, arriving: Callable[[str, int], tuple[Reservation, FakeDeadline]], clock: Clock
) -> None:
    _, of_another = arriving("bob", 20)
    _, of_ada = arriving("ada", 30)
    clock.now_s += 100

    held(budget, "ada", 30)

    assert of_ada.is_revoked
    assert not of_another.is_revoked
