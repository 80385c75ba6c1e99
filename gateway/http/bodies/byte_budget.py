"""A budget of bytes, of memory or of disk, that requests hold together."""

from __future__ import annotations

import time
from collections import Counter
from http import HTTPStatus
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.http.problems import CLOSE, ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.http.bodies.body_stream import Deadline

_RETRY_AFTER_S: Final = 1


class Reservation:
    """What one request holds of a budget.

    Args:
        caller: Who sent the request, as far as that was proven.
        deadline: That of its body, while this is on its way: then it may be ended in favour of others.
    """

    def __init__(self, budget: ByteBudget, caller: str, deadline: Deadline | None) -> None:
        self.budget: Final = budget
        self.caller: Final = caller
        self.deadline: Final = deadline
        self.size = 0

    def take(self, count: int) -> None:
        """Hold so many bytes more.

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
        """Hold so many bytes in all, or say that there is no room; fewer always succeed."""
        return self.budget.resize(self, size)

    def release(self) -> None:
        """Hold none."""
        self.budget.resize(self, 0)


class _Arriving(NamedTuple):
    """A reservation whose body is on its way, and since when it has held bytes."""

    reservation: Reservation
    deadline: Deadline
    began_at: float


class ByteBudget:
    """Bytes that requests hold, within a limit of all and one of each caller.

    A body may come slowly while there is room. Once there is none, it has to come at a rate in proportion to
    what it holds: as if all of that was to be sent again within ``resend_within_s``. So a body that has held
    bytes for longer than that is ended when others need the room, the one that began first before the rest.
    """

    def __init__(self, *, max_bytes: int, max_bytes_of_caller: int, resend_within_s: float) -> None:
        self.max_bytes: Final = max_bytes
        self.max_bytes_of_caller: Final = max_bytes_of_caller
        self._resend_within_s = resend_within_s
        self._held = 0
        self._held_of: Counter[str] = Counter()
        # Of each caller, the first before the others; among them some that are over and not released yet.
        self._arriving: dict[str, dict[Reservation, _Arriving]] = {}

    @property
    def held(self) -> int:
        """Bytes that are held at present."""
        return self._held

    def resize(self, reservation: Reservation, size: int) -> bool:
        """Have a reservation hold so many bytes, or change nothing and return False."""
        more = size - reservation.size
        if more > 0 and not self._has_room(reservation.caller, more, reservation):
            return False
        reservation.size = size
        self._held += more
        self._held_of[reservation.caller] += more
        if not self._held_of[reservation.caller]:
            del self._held_of[reservation.caller]
        self._note_arrival(reservation)
        return True

    def _has_room(self, caller: str, count: int, asking: Reservation) -> bool:
        """Whether so many bytes more can be held, once bodies that come too slowly for it have been ended."""
        while self._held_of[caller] + count > self.max_bytes_of_caller:
            if not self._end_slowest([caller], asking):
                return False
        while self._held + count > self.max_bytes:
            if not self._end_slowest(list(self._arriving), asking):
                return False
        return True

    def _end_slowest(self, callers: Iterable[str], asking: Reservation) -> bool:
        """End the body that began first, unless it is the one that asks or comes fast enough."""
        firsts = [first for caller in callers if (first := self._first(caller)) is not None]
        if not firsts:
            return False
        slowest = min(firsts, key=attrgetter("began_at"))
        is_slow = time.monotonic() - slowest.began_at > self._resend_within_s
        if slowest.reservation is asking or not is_slow:
            return False
        slowest.deadline.revoke()
        self.resize(slowest.reservation, 0)
        return True

    def _first(self, caller: str) -> _Arriving | None:
        """The first of a caller's bodies that are still on their way."""
        arriving = self._arriving.get(caller, {})
        for reservation, first in list(arriving.items()):
            if not first.deadline.is_over:
                return first
            del arriving[reservation]
        self._arriving.pop(caller, None)
        return None

    def _note_arrival(self, reservation: Reservation) -> None:
        if reservation.deadline is None:
            return
        arriving = self._arriving.setdefault(reservation.caller, {})
        if not reservation.size:
            arriving.pop(reservation, None)
        elif reservation not in arriving:
            arriving[reservation] = _Arriving(reservation, reservation.deadline, time.monotonic())
        if not arriving:
            del self._arriving[reservation.caller]
