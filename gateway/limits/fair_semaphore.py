"""A semaphore with fair queueing: many requests of one client don't delay another client's single one."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from shared.domain.errors import RateLimitedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_RETRY_AFTER_S: Final = 2.0


class QueueEntry(NamedTuple):
    """The keys of a waiter in the queue.

    Attributes:
        keys: What it shares with other waiters: an address, an account. Among waiters that share a key, each
            waits for one round more than the one before.
        has_priority: Whether it goes first within its round.
    """

    keys: frozenset[str] = frozenset()
    has_priority: bool = False


@dataclass(slots=True, eq=False)
class _Waiter:
    keys: frozenset[str]
    rank: tuple[int, bool]
    admitted: asyncio.Future[None]


class FairSemaphore:
    """Admits a bounded number at a time from a bounded queue, in rounds.

    Each round admits one waiter per key, so that a waiter who shares no key waits for at most one of each
    other key, however long the queue is. When the queue is full, the last waiter of the last round is refused
    in favour of one that would be in an earlier round.

    Args:
        slots: How many are admitted at a time.
        max_queued: How many may wait.
        refusal: The message for those refused.
    """

    def __init__(self, slots: int, *, max_queued: int, refusal: str) -> None:
        self._free_slots = slots
        self._max_queued = max_queued
        self._refusal = refusal
        self._waiters: list[_Waiter] = []  # in the order of their arrival
        self._round = 0

    @asynccontextmanager
    async def slot(self, entry: QueueEntry) -> AsyncIterator[None]:
        """Hold a slot for as long as the context is open.

        Raises:
            RateLimitedError: Too many wait already.
        """
        waiter = self._enqueue(entry)
        self._admit()
        try:
            await waiter.admitted
        except asyncio.CancelledError:
            self._cancel(waiter)
            raise
        try:
            yield
        finally:
            self._release()

    def _enqueue(self, entry: QueueEntry) -> _Waiter:
        ahead = max((sum(key in waiter.keys for waiter in self._waiters) for key in entry.keys), default=0)
        rank = self._round + 1 + ahead, not entry.has_priority
        if len(self._waiters) >= self._max_queued:
            self._evict_last(rank)
        waiter = _Waiter(entry.keys, rank, asyncio.get_running_loop().create_future())
        self._waiters.append(waiter)
        return waiter

    def _evict_last(self, rank: tuple[int, bool]) -> None:
        last = max(reversed(self._waiters), key=_rank)  # of equal rank, the latest
        if last.rank <= rank:
            raise self._refusal_error()
        self._waiters.remove(last)
        last.admitted.set_exception(self._refusal_error())

    def _admit(self) -> None:
        while self._free_slots and self._waiters:
            first = min(self._waiters, key=_rank)  # of equal rank, the earliest
            self._waiters.remove(first)
            self._round = max(self._round, first.rank[0])
            self._free_slots -= 1
            first.admitted.set_result(None)

    def _cancel(self, waiter: _Waiter) -> None:
        if waiter in self._waiters:
            self._waiters.remove(waiter)
        elif not waiter.admitted.cancelled() and waiter.admitted.exception() is None:
            self._release()  # admitted, but cancelled before it ran

    def _release(self) -> None:
        self._free_slots += 1
        self._admit()

    def _refusal_error(self) -> RateLimitedError:
        return RateLimitedError(self._refusal, retry_after_s=_RETRY_AFTER_S)


def _rank(waiter: _Waiter) -> tuple[int, bool]:
    return waiter.rank
