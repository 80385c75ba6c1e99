"""The event log: what happened to ECGs, in the order in which it was committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from shared.events import EcgKey, Event, EventType


class LogPosition(NamedTuple):
    """A place in the log, after an event: what follows it is read from here.

    Attributes:
        transaction: The number of the transaction that committed the event.
        place: Of the event among those of the transaction, from 1.
    """

    transaction: int
    place: int


class LoggedEvent(NamedTuple):
    """An event, the position after it, and the ECG that it is about."""

    event: Event
    position: LogPosition
    key: EcgKey


class LogPage(NamedTuple):
    """Some events of the log.

    Attributes:
        position: Where the next page begins; also after events that were not asked for.
        has_more: Whether more of the log can be read now, be it of events that were not asked for.
    """

    events: Sequence[LoggedEvent]
    position: LogPosition
    has_more: bool


class EventLog(Protocol):
    """The events of ECGs that were completed, failed or erased. Every method raises UnavailableError.

    They come in the order in which their transactions began, and none while an older one still runs: so no
    position skips what is committed late. An event is as it was published first, with the same id. Those with
    results of an ECG that was erased meanwhile are left out.
    """

    async def read(
        self,
        after: LogPosition | None,
        *,
        limit: int,
        types: Collection[EventType],
        owner: str | None = None,
        since: datetime | None = None,
    ) -> LogPage:
        """The events after a position, or from the oldest that is kept, at most ``limit``.

        Args:
            after: None for the beginning.
            limit: Of events.
            types: What happened; the others are left out.
            owner: Whose; None for all owners.
            since: Nothing that was logged before.

        Raises:
            ForgottenError: What followed the position is kept no longer, or never was.
        """

    async def find(self, positions: Sequence[LogPosition]) -> dict[LogPosition, LoggedEvent]:
        """The events before these positions, without those that were erased or forgotten."""

    async def end(self) -> LogPosition:
        """The position after all that can be read now."""

    async def newest(self) -> int:
        """The transaction of the newest event that can be read now; 0 if there is none."""


class EventLogDays(Protocol):
    """The days that the log keeps. Every method raises UnavailableError."""

    async def extend(self) -> int:
        """Have a place ready for each of the days that come next; how many were added."""

    async def forget(self, days: int) -> bool:
        """Forget the oldest day that was over so many days ago; whether there was one."""
