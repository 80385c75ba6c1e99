"""Queries and erasure by an ECG's owner."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.events import EcgKey, Event, EventBatch
    from shared.ports.ecgs import Status


class EcgSummary(NamedTuple):
    """An ECG in its owner's list: a part of its `EcgState`."""

    id: str
    status: Status
    submitted_at: datetime
    reanalysis: Status | None = None


class PagePosition(NamedTuple):
    """The sort key of the last ECG of a page, from which the next page goes on."""

    submitted_at: datetime
    id: str


class OwnedEcgs(Protocol):
    """Queries and erasure by an ECG's owner. Every method raises UnavailableError."""

    async def page(
        self, owner: str, *, limit: int, after: PagePosition | None = None, status: Status | None = None
    ) -> list[EcgSummary]:
        """The owner's ECGs, newest first, at most ``limit``; ``after`` a position, or from the newest on.

        With a ``status``, those whose present generation has it: one that is analysed again counts as queued.
        Paging gives each ECG that exists throughout exactly once, even while others are added or erased.
        """

    async def erase(
        self, owner: str, ecg_id: str, *, event_of: Callable[[EcgKey], Event]
    ) -> EventBatch | None:
        """Erase an ECG with its signals and insights and put its event into the outbox: both or neither.

        A processor that is analysing it settles nothing. The id may be submitted again; its generation counts
        on, so that events of the old ECG can't be mistaken for events of the new one.

        Returns:
            The event, as it is in the outbox; None when there is no such ECG.
        """
