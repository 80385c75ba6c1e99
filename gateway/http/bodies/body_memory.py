"""The memory that bodies take: while they arrive, while they are parsed, and as what was made of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.http.bodies.byte_budget import ByteBudget, Reservation
from shared.runtime.settings import PART_OF_ONE

if TYPE_CHECKING:
    from gateway.http.bodies.body_stream import Deadline

# Up to here a body is small: counted apart from large ones, and parsed on the event loop. That takes 1 ms,
# which other requests may wait; a thread would cost 0.15 ms more.
SMALL_BYTES: Final = 512 * 1024
# The connection that a body comes on takes more than so much.
UNCOUNTED_BYTES: Final = 4 * 1024
# What unpacking, parsing or encoding a body takes beside it, as many times its size.
_WORK_TIMES_SIZE: Final = 2
# More at a time would only wait for each other: they hold the interpreter's lock.
_WORK_AT_A_TIME: Final = 2
# Of what is left beside that work, small bodies have this part to themselves.
_PART_OF_SMALL: Final = 4
_RESEND_WITHIN_S: Final = 5.0


class MemoryBudget:
    """The memory that all bodies may take: a part for work on large ones, one for small ones, the rest.

    Args:
        max_bytes: Of all together; a caller may hold a quarter of it.
        max_body_bytes: The size of the largest body, at most a quarter of all.
        read_timeout_s: How long a body may take to arrive, beside what its size allows for.

    Attributes:
        work: To be held while a large body is unpacked and parsed.
    """

    def __init__(self, *, max_bytes: int, max_body_bytes: int, read_timeout_s: float) -> None:
        share, work_bytes = max_bytes // PART_OF_ONE, _WORK_TIMES_SIZE * max_body_bytes
        at_a_time = max(1, min(_WORK_AT_A_TIME, max_bytes // 2 // work_bytes))
        rest = max_bytes - min(at_a_time * work_bytes, max_bytes // 2)
        small = rest // _PART_OF_SMALL
        self.work: Final = asyncio.Semaphore(at_a_time)
        self.small: Final = ByteBudget(
            max_bytes=small,
            max_bytes_of_caller=max(small // PART_OF_ONE, min(SMALL_BYTES, small // 2)),
            resend_within_s=_RESEND_WITHIN_S,
        )
        self.large: Final = ByteBudget(
            max_bytes=rest - small, max_bytes_of_caller=share, resend_within_s=_RESEND_WITHIN_S
        )
        self.read_timeout_s: Final = read_timeout_s


class BodyMemory:
    """The memory that one request's body takes.

    Attributes:
        deadline: That of the body, once it is on its way.
    """

    def __init__(self, budget: MemoryBudget, caller: str) -> None:
        self.budget: Final = budget
        self._caller = caller
        self._size = 0
        self._reservation: Reservation | None = None
        self.deadline: Deadline | None = None

    def take(self, count: int) -> None:
        """Take so many bytes more.

        Raises:
            ProblemError: 503, too many are held in all or by this caller; 413, no caller may hold so many.
        """
        self.resize(self._size + count)

    def resize(self, size: int) -> None:
        """Take so many bytes in all.

        A small body is counted among small ones, and among large ones only once those fill their part.

        Raises:
            ProblemError: 503, too many are held in all or by this caller; 413, no caller may hold so many.
        """
        self._size = size
        if self._reservation is None:
            if size <= UNCOUNTED_BYTES:
                return
            self._reservation = self._among(self.budget.small)
        if size > SMALL_BYTES or not self._reservation.resize(size):
            self._grow_among_large(self._reservation, size)

    def release(self) -> None:
        """Take none."""
        if self._reservation is not None:
            self._reservation.release()
            self._reservation = None

    def _grow_among_large(self, present: Reservation, size: int) -> None:
        if present.budget is self.budget.large:
            present.take(size - present.size)
            return
        self._reservation = self._among(self.budget.large)
        try:
            self._reservation.take(size)
        finally:
            present.release()

    def _among(self, budget: ByteBudget) -> Reservation:
        return Reservation(budget, self._caller, self.deadline)
