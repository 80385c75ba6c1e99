"""Pruning: what was finished long ago is erased."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from datetime import datetime, timedelta


class PrunedPage(NamedTuple):
    """What was done with one page of the ECGs.

    Attributes:
        ecgs: How many were erased.
        last_row: Where the next page begins; None after the last.
    """

    ecgs: int
    last_row: int | None


class PrunedShare(NamedTuple):
    """What one process did of a round that the processes of an installation share.

    Attributes:
        ecgs: How many it erased.
        round_ecgs: How many were erased in the whole round, if it ended with this; else None.
    """

    ecgs: int
    round_ecgs: int | None


class Retention(Protocol):
    """Erasing what was finished long ago. Every method raises UnavailableError.

    An ECG is erased whole, with its signals and results, and its id is free; nothing is published. Those that
    are queued, or whose last event is not published yet, stay.
    """

    async def now(self) -> datetime:
        """The time of the clock that dates the end of an ECG's analysis."""

    async def prune(
        self, finished_before: datetime, *, after_row: int, limit: int, only_count: bool = False
    ) -> PrunedPage:
        """Erase, or only count, what was finished before then in the next page of ECGs.

        Pages follow each other by ``after_row``, from 0 on. What another process has locked is left alone.

        Raises:
            UnavailableError: Also if that would erase what is too young.
        """

    async def prune_shared(
        self, older_than: timedelta, *, limit: int, next_round_in: timedelta
    ) -> PrunedShare | None:
        """Erase the next page of the installation's present round; None if no page is due for this process.

        It is recorded when it erases its first ECG and when it has ended. One process at a time has it.

        Raises:
            UnavailableError: Also while the schema is older, or the role lacks the right.
        """

    async def drop_signals(self) -> bool:
        """Drop the oldest partition of signals whose ECGs are all erased; whether there was one.

        Signals of ECGs that `prune` erased wait for this if they are all of one time.
        """

    async def prune_signals(self, finished_before: datetime, *, limit: int) -> int:
        """Erase signals that wait in vain, since an ECG of their partition stays; how many.

        Of partitions in which nothing is younger than that.
        """

    async def extend_partitions(self, *, least_rows: int, parts: int) -> bool:
        """Add a partition for signals if none as wide as such a part of all is ready; whether one was added.

        Without it nothing fails: signals beyond the last partition are in one that does not end.
        """

    async def prune_records(self) -> None:
        """Delete logins that can't be continued any more, and records of operations of 400 days ago."""
