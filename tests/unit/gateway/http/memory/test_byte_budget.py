from __future__ import annotations

from http import HTTPStatus
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from gateway.http.memory import byte_budget
from gateway.http.memory.byte_budget import ByteBudget, Reservation
from gateway.http.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable

_EVICTABLE_AFTER_S = 5.0


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
    """100 bytes, 40 per caller."""
    return ByteBudget(max_bytes=100, max_bytes_of_caller=40, evictable_after_s=_EVICTABLE_AFTER_S)


@pytest.fixture
def receiving(budget: ByteBudget) -> Callable[[str, int], tuple[Reservation, FakeDeadline]]:
    """Begin a body that is being received and holds so many bytes."""

    def begin(caller: str, size: int) -> tuple[Reservation, FakeDeadline]:
        deadline = FakeDeadline()
        reservation = Reservation(budget, caller, deadline)  # type: ignore[arg-type]
        reservation.grow(size)
        return reservation, deadline

    return begin


def reserved(budget: ByteBudget, caller: str, size: int) -> Reservation:
    """The reservation of a complete body."""
    reservation = Reservation(budget, caller, None)
    reservation.grow(size)
    return reservation


def refusal(reservation: Reservation, count: int) -> HTTPStatus:
    before = reservation.budget.held
    with pytest.raises(ProblemError) as caught:
        reservation.grow(count)
    assert reservation.budget.held == before
    return caught.value.status


def test_all_together_and_each_caller_have_a_limit(budget: ByteBudget) -> None:
    of_ada = reserved(budget, "ada", 30)
    assert refusal(reserved(budget, "ada", 10), 1) is HTTPStatus.SERVICE_UNAVAILABLE
    reserved(budget, "bob", 40)
    assert refusal(reserved(budget, "eve", 20), 1) is HTTPStatus.SERVICE_UNAVAILABLE

    of_ada.release()

    reserved(budget, "eve", 20)
    assert budget.held == 90


def test_more_than_a_caller_may_hold_is_refused_with_413(budget: ByteBudget) -> None:
    assert refusal(reserved(budget, "ada", 40), 1) is HTTPStatus.REQUEST_ENTITY_TOO_LARGE


def test_releasing_twice_frees_once(budget: ByteBudget) -> None:
    reserved(budget, "bob", 10)
    reservation = reserved(budget, "ada", 10)

    reservation.release()
    reservation.release()

    assert budget.held == 10


def test_a_caller_without_reservations_takes_no_memory(
    budget: ByteBudget, receiving: Callable[[str, int], tuple[Reservation, FakeDeadline]]
) -> None:
    for number in range(3):
        reservation, _ = receiving(f"caller-{number}", 10)
        reservation.release()

    assert (budget.held, len(budget._held_by_caller), len(budget._receiving)) == (0, 0, 0)


def test_bodies_that_hold_bytes_for_too_long_are_evicted_when_others_need_them(
    budget: ByteBudget, receiving: Callable[[str, int], tuple[Reservation, FakeDeadline]], clock: Clock
) -> None:
    receiving_bodies = [receiving(caller, 20) for caller in ("ada", "bob", "eve", "joe", "kim")]
    clock.now_s += _EVICTABLE_AFTER_S + 0.1

    reserved(budget, "zoe", 40)

    assert [deadline.is_revoked for _, deadline in receiving_bodies] == [True, True, False, False, False]
    assert [reservation.size for reservation, _ in receiving_bodies] == [0, 0, 20, 20, 20]
    assert budget.held == 100


def test_a_fast_body_is_not_evicted_nor_any_while_bytes_are_free(
    budget: ByteBudget, receiving: Callable[[str, int], tuple[Reservation, FakeDeadline]], clock: Clock
) -> None:
    slow = [receiving(caller, 20) for caller in ("ada", "bob")]
    clock.now_s += _EVICTABLE_AFTER_S + 0.1
    fast = [receiving(caller, 20) for caller in ("eve", "joe", "kim")]
    clock.now_s += _EVICTABLE_AFTER_S - 0.1

    reserved(budget, "zoe", 40)

    assert refusal(reserved(budget, "zac", 0), 1) is HTTPStatus.SERVICE_UNAVAILABLE
    assert all(deadline.is_revoked for _, deadline in slow)
    assert not any(deadline.is_revoked for _, deadline in fast)


def test_a_body_may_hold_bytes_for_exactly_as_long_as_it_takes_to_be_slow(
    budget: ByteBudget, receiving: Callable[[str, int], tuple[Reservation, FakeDeadline]], clock: Clock
) -> None:
    bodies = [receiving(caller, 25) for caller in ("ada", "bob", "eve", "joe")]
    clock.now_s += _EVICTABLE_AFTER_S

    assert refusal(reserved(budget, "zoe", 0), 1) is HTTPStatus.SERVICE_UNAVAILABLE
    assert not any(deadline.is_revoked for _, deadline in bodies)


def test_a_body_that_grows_is_as_old_as_its_first_byte(
    budget: ByteBudget, receiving: Callable[[str, int], tuple[Reservation, FakeDeadline]], clock: Clock
) -> None:
    growing, deadline = receiving("ada", 10)
    clock.now_s += _EVICTABLE_AFTER_S
    growing.grow(30)
    for caller in ("bob", "eve"):
        receiving(caller, 30)
    clock.now_s += 0.1

    reserved(budget, "zoe", 40)

    assert deadline.is_revoked


def test_the_oldest_body_is_evicted_first(
    budget: ByteBudget, receiving: Callable[[str, int], tuple[Reservation, FakeDeadline]], clock: Clock
) -> None:
    bodies = []
    for caller in ("ada", "bob", "eve", "joe"):
        bodies.append(receiving(caller, 25))
        clock.now_s += 0.1
    bodies[0][0].release()
    bodies.append(receiving("ada", 25))
    clock.now_s += _EVICTABLE_AFTER_S + 0.1

    reserved(budget, "zoe", 25)

    assert [deadline.is_revoked for _, deadline in bodies] == [False, True, False, False, False]


def test_a_complete_body_is_not_evicted(
    budget: ByteBudget, receiving: Callable[[str, int], tuple[Reservation, FakeDeadline]], clock: Clock
) -> None:
    receiving_bodies = [receiving(caller, 25) for caller in ("ada", "bob", "eve", "joe")]
    for _, deadline in receiving_bodies:
        deadline.is_over = True
    clock.now_s += 100

    assert refusal(reserved(budget, "zoe", 0), 1) is HTTPStatus.SERVICE_UNAVAILABLE
    assert not any(deadline.is_revoked for _, deadline in receiving_bodies)


def test_the_slowest_body_is_not_evicted_for_itself(
    receiving: Callable[[str, int], tuple[Reservation, FakeDeadline]], clock: Clock
) -> None:
    slowest, deadline = receiving("ada", 20)
    others = [receiving(caller, 40) for caller in ("bob", "eve")]
    clock.now_s += 100

    assert refusal(slowest, 1) is HTTPStatus.SERVICE_UNAVAILABLE
    assert not any(deadline.is_revoked for deadline in [deadline, *(deadline for _, deadline in others)])


def test_a_caller_at_its_own_limit_evicts_only_its_own_bodies(
    budget: ByteBudget, receiving: Callable[[str, int], tuple[Reservation, FakeDeadline]], clock: Clock
) -> None:
    _, of_another = receiving("bob", 20)
    _, of_ada = receiving("ada", 30)
    clock.now_s += 100

    reserved(budget, "ada", 30)

    assert of_ada.is_revoked
    assert not of_another.is_revoked
