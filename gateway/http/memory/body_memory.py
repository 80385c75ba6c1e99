"""The memory budget of bodies: while they are received and parsed, and for the parsed result."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from prometheus_client import Gauge

from gateway.http.memory.byte_budget import ByteBudget, Reservation
from shared.runtime.settings import CALLER_LIMIT_DIVISOR

if TYPE_CHECKING:
    from gateway.http.memory.deadline import Deadline

# A body up to this size is small: counted apart from large ones, and parsed on the event loop. That blocks it
# for 1 ms; a thread would cost 0.15 ms more.
SMALL_BYTES: Final = 512 * 1024
# Smaller bodies are not counted: their connection takes more.
UNCOUNTED_BYTES: Final = 4 * 1024
# Memory to decompress, parse or encode a body, as a multiple of its size.
_WORK_BYTES_PER_BODY_BYTE: Final = 2
# More would only wait for each other: they hold the GIL.
_MAX_CONCURRENT_WORK: Final = 2
# This fraction of the budget without the work is reserved for small bodies.
_SMALL_DIVISOR: Final = 4
_EVICTABLE_AFTER_S: Final = 5.0

_HELD: Final = Gauge("isoline_body_bytes", "Memory that bodies of requests hold.", ["size"])


class BodyMemoryBudget:
    """The memory budget of all bodies: for work on large bodies, for small bodies, and for large bodies.

    Args:
        max_bytes: Of all together; a caller may hold a quarter of it.
        max_body_bytes: The size of the largest body, at most a quarter of ``max_bytes``.
        read_timeout_s: How long a body may take to arrive, in addition to the time for its size.

    Attributes:
        work_semaphore: Held while a large body is decompressed and parsed.
    """

    def __init__(self, *, max_bytes: int, max_body_bytes: int, read_timeout_s: float) -> None:
        max_bytes_of_caller, work_bytes = (
            max_bytes // CALLER_LIMIT_DIVISOR,
            _WORK_BYTES_PER_BODY_BYTE * max_body_bytes,
        )
        concurrency = max(1, min(_MAX_CONCURRENT_WORK, max_bytes // 2 // work_bytes))
        rest = max_bytes - min(concurrency * work_bytes, max_bytes // 2)
        small = rest // _SMALL_DIVISOR
        self.work_semaphore: Final = asyncio.Semaphore(concurrency)
        self.small: Final = ByteBudget(
            max_bytes=small,
            max_bytes_of_caller=max(small // CALLER_LIMIT_DIVISOR, min(SMALL_BYTES, small // 2)),
            evictable_after_s=_EVICTABLE_AFTER_S,
        )
        self.large: Final = ByteBudget(
            max_bytes=rest - small,
            max_bytes_of_caller=max_bytes_of_caller,
            evictable_after_s=_EVICTABLE_AFTER_S,
        )
        self.read_timeout_s: Final = read_timeout_s
        _HELD.labels("small").set_function(lambda: self.small.held)
        _HELD.labels("large").set_function(lambda: self.large.held)


class BodyMemory:
    """The memory of one request's body.

    Attributes:
        deadline: Of the body, once it is being received.
    """

    def __init__(self, budget: BodyMemoryBudget, caller: str) -> None:
        self.budget: Final = budget
        self._caller = caller
        self._size = 0
        self._reservation: Reservation | None = None
        self.deadline: Deadline | None = None

    def reserve(self, count: int) -> None:
        """Reserve so many bytes more.

        Raises:
            ProblemError: 503, too many are held in all or by this caller; 413, no caller may hold so many.
        """
        self.resize(self._size + count)

    def resize(self, size: int) -> None:
        """Change the reservation to so many bytes in all.

        A small body is counted among small ones, and among large ones only once the former use up their part.

        Raises:
            ProblemError: 503, too many are held in all or by this caller; 413, no caller may hold so many.
        """
        self._size = size
        if self._reservation is None:
            if size <= UNCOUNTED_BYTES:
                return
            self._reservation = self._reserve_in(self.budget.small)
        if size > SMALL_BYTES or not self._reservation.resize(size):
            self._move_to_large(self._reservation, size)

    def release(self) -> None:
        """Release the reservation."""
        if self._reservation is not None:
            self._reservation.release()
            self._reservation = None

    def _move_to_large(self, current: Reservation, size: int) -> None:
        if current.budget is self.budget.large:
            current.grow(size - current.size)
            return
        self._reservation = self._reserve_in(self.budget.large)
        try:
            self._reservation.grow(size)
        finally:
            current.release()

    def _reserve_in(self, budget: ByteBudget) -> Reservation:
        return Reservation(budget, self._caller, self.deadline)
