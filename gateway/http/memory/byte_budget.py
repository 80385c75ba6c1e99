"""A budget of bytes, of memory or of disk, in which requests hold reservations."""

from __future__ import annotations

import time
from collections import Counter
from http import HTTPStatus
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.http.problems import CLOSE, ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.http.memory.deadline import Deadline

_RETRY_AFTER_S: Final = 1


class Reservation:
    """The bytes that one request holds of a budget.

    Args:
        caller: The authenticated caller, or the client address.
        deadline: Of its body while that is being received: then it may be evicted in favour of others.
    """

    def __init__(self, budget: ByteBudget, caller: str, deadline: Deadline | None) -> None:
        self.budget: Final = budget
        self.caller: Final = caller
        self.deadline: Final = deadline
        self.size = 0

    def grow(self, count: int) -> None:
        """Reserve so many bytes more.

        Raises:
            ProblemError: 503, too many are held in all or by this caller; 413, no caller may hold so many.
        """
        if self.size + count > self.budget.max_bytes_of_caller:
            detail = f"One caller may hold {self.budget.max_bytes_of_caller} bytes; this request needs more."
            raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers=CLOSE)
        if not self.resize(self.size + count):
            detail = "The gateway has its hands full of other requests. Send the same request again."
            headers = {"Retry-After": str(_RETRY_AFTER_S), **CLOSE}
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers)

    def resize(self, size: int) -> bool:
        """Change to so many bytes in all, or return False if the budget is used up; shrinking succeeds."""
        return self.budget.resize(self, size)

    def release(self) -> None:
        """Reserve none."""
        self.budget.resize(self, 0)


class _ReceivingBody(NamedTuple):
    """A reservation whose body is being received, and since when it has held bytes."""

    reservation: Reservation
    deadline: Deadline
    held_since: float


class ByteBudget:
    """A limit on the bytes held by all requests, and one per caller.

    A body may arrive slowly while the budget is not used up. Then a body that has held bytes for longer than
    ``evictable_after_s`` is evicted when another needs them, the oldest first: what a body holds determines
    the rate at which it must arrive.
    """

    def __init__(self, *, max_bytes: int, max_bytes_of_caller: int, evictable_after_s: float) -> None:
        self.max_bytes: Final = max_bytes
        self.max_bytes_of_caller: Final = max_bytes_of_caller
        self._evictable_after_s = evictable_after_s
        self._held = 0
        self._held_by_caller: Counter[str] = Counter()
        # By caller, oldest first; may include bodies that are complete and not released yet.
        self._receiving: dict[str, dict[Reservation, _ReceivingBody]] = {}

    @property
    def held(self) -> int:
        """Bytes that are held at present."""
        return self._held

    def resize(self, reservation: Reservation, size: int) -> bool:
        """Change a reservation to so many bytes, or change nothing and return False."""
        more = size - reservation.size
        if more > 0 and not self._free_up(reservation.caller, more, reservation):
            return False
        reservation.size = size
        self._held += more
        self._held_by_caller[reservation.caller] += more
        if not self._held_by_caller[reservation.caller]:
            del self._held_by_caller[reservation.caller]
        self._track(reservation)
        return True

    def _free_up(self, caller: str, count: int, requester: Reservation) -> bool:
        """Evict slow bodies until so many bytes are free; returns False if that is not enough."""
        while self._held_by_caller[caller] + count > self.max_bytes_of_caller:
            if not self._evict_slowest([caller], requester):
                return False
        while self._held + count > self.max_bytes:
            if not self._evict_slowest(list(self._receiving), requester):
                return False
        return True

    def _evict_slowest(self, callers: Iterable[str], requester: Reservation) -> bool:
        """Evict the oldest body being received, unless it is the requester's or fast enough."""
        oldest = [first for caller in callers if (first := self._oldest_receiving(caller)) is not None]
        if not oldest:
            return False
        slowest = min(oldest, key=attrgetter("held_since"))
        is_slow = time.monotonic() - slowest.held_since > self._evictable_after_s
        if slowest.reservation is requester or not is_slow:
            return False
        slowest.deadline.revoke()
        self.resize(slowest.reservation, 0)
        return True

    def _oldest_receiving(self, caller: str) -> _ReceivingBody | None:
        """The oldest of a caller's bodies that are still being received."""
        receiving = self._receiving.get(caller, {})
        for reservation, first in list(receiving.items()):
            if not first.deadline.is_over:
                return first
            del receiving[reservation]
        self._receiving.pop(caller, None)
        return None

    def _track(self, reservation: Reservation) -> None:
        if reservation.deadline is None:
            return
        receiving = self._receiving.setdefault(reservation.caller, {})
        if not reservation.size:
            receiving.pop(reservation, None)
        elif reservation not in receiving:
            receiving[reservation] = _ReceivingBody(reservation, reservation.deadline, time.monotonic())
        if not receiving:
            del self._receiving[reservation.caller]
