"""A semaphore whose places go round among those who wait, so that nobody's hundred delay another's one."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from shared.domain.errors import TooOftenError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_RETRY_AFTER_S: Final = 2.0


class Applicant(NamedTuple):
    """Who wants a place.

    Attributes:
        names: What they have in common with others who wait: an address, an account. Of those who share a
            name each waits for one round more than the one before.
        is_known: Whether they go first within their round.
    """

    names: frozenset[str] = frozenset()
    is_known: bool = False


@dataclass(slots=True, eq=False)
class _Waiting:
    names: frozenset[str]
    rank: tuple[int, bool]
    admitted: asyncio.Future[None]


class FairSemaphore:
    """Lets a bounded number in at a time, round by round, and a bounded number wait.

    Each round lets in one of each name that is waited under, so that who shares no name with others waits for
    one of each at the most, however many wait. When all waiting places are taken, who came last of the last
    round is refused for someone who would be in an earlier one.

    Args:
        places: How many are let in.
        max_waiting: How many may wait.
        refusal: A sentence for those who may not.
    """

    def __init__(self, places: int, *, max_waiting: int, refusal: str) -> None:
        self._free = places
        self._max_waiting = max_waiting
        self._refusal = refusal
        self._waiting: list[_Waiting] = []  # in the order of their arrival
        self._round = 0

    @asynccontextmanager
    async def place(self, applicant: Applicant) -> AsyncIterator[None]:
        """Hold a place for as long as the context is open.

        Raises:
            TooOftenError: Too many wait already.
        """
        waiting = self._line_up(applicant)
        self._let_in()
        try:
            await waiting.admitted
        except asyncio.CancelledError:
            self._give_up(waiting)
            raise
        try:
            yield
        finally:
            self._free_place()

    def _line_up(self, applicant: Applicant) -> _Waiting:
        ahead = max(
            (sum(name in waiting.names for waiting in self._waiting) for name in applicant.names), default=0
        )
        rank = self._round + 1 + ahead, not applicant.is_known
        if len(self._waiting) >= self._max_waiting:
            self._make_room(rank)
        waiting = _Waiting(applicant.names, rank, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        return waiting

    def _make_room(self, rank: tuple[int, bool]) -> None:
        last = max(reversed(self._waiting), key=_rank)  # of the same rank, who came last
        if last.rank <= rank:
            raise self._refused()
        self._waiting.remove(last)
        last.admitted.set_exception(self._refused())

    def _let_in(self) -> None:
        while self._free and self._waiting:
            first = min(self._waiting, key=_rank)  # of the same rank, who came first
            self._waiting.remove(first)
            self._round = max(self._round, first.rank[0])
            self._free -= 1
            first.admitted.set_result(None)

    def _give_up(self, waiting: _Waiting) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)
        elif not waiting.admitted.cancelled() and waiting.admitted.exception() is None:
            self._free_place()  # it was let in, and cancelled before it knew

    def _free_place(self) -> None:
        self._free += 1
        self._let_in()

    def _refused(self) -> TooOftenError:
        return TooOftenError(self._refusal, retry_after_s=_RETRY_AFTER_S)


def _rank(waiting: _Waiting) -> tuple[int, bool]:
    return waiting.rank
