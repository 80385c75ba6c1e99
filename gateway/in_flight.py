"""What bodies may cost while they are in hand: bytes, time to arrive, and turns at work on large ones."""

from __future__ import annotations

import asyncio
from collections import Counter
from http import HTTPStatus
from typing import Final

from gateway.problems import ProblemError
from shared.settings import PART_OF_ONE

_RETRY_AFTER_S: Final = 1
# What a large body becomes in parsing is many times as large as the body.
_LARGE_AT_A_TIME: Final = 2


class Share:
    """What one request holds of the bytes in flight, until it ends.

    Args:
        holder: Who sends it, as far as that was proven; each holder has a limit of their own.

    Attributes:
        read_timeout_s: How long its body may take to arrive, beside what its size allows for.
        turn: To be held from unpacking a large body until nothing large is left of it.
    """

    def __init__(self, in_flight: InFlight, holder: str) -> None:
        self._in_flight = in_flight
        self._holder = holder
        self._held = 0
        self.read_timeout_s: Final = in_flight.read_timeout_s
        self.turn: Final = in_flight.turn

    def take(self, count: int) -> None:
        """Hold so many bytes more.

        Raises:
            ProblemError: 503, too many are held in all, or by this holder.
        """
        self._in_flight.take(count, self._holder)
        self._held += count

    def release(self) -> None:
        """Hold none."""
        self._in_flight.release(self._held, self._holder)
        self._held = 0


class InFlight:
    """What all requests share, and how much of it is held."""

    def __init__(self, *, max_bytes: int, read_timeout_s: float) -> None:
        self._max_bytes = max_bytes
        self._held: Counter[str] = Counter()
        self.read_timeout_s: Final = read_timeout_s
        self.turn: Final = asyncio.Semaphore(_LARGE_AT_A_TIME)

    def take(self, count: int, holder: str) -> None:
        """Hold so many bytes more; for `Share` alone."""
        is_too_much = self._held.total() + count > self._max_bytes
        if is_too_much or self._held[holder] + count > self._max_bytes // PART_OF_ONE:
            detail = "The gateway has its hands full of other requests. Send the same request again."
            # What is still on its way would be taken for the next request.
            headers = {"Retry-After": str(_RETRY_AFTER_S), "Connection": "close"}
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers)
        self._held[holder] += count

    def release(self, count: int, holder: str) -> None:
        """Hold so many bytes less; for `Share` alone."""
        self._held[holder] -= count
        if not self._held[holder]:
            del self._held[holder]
