"""ECGs as their owner asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from shared.events import EcgKey, Event, EventBatch
    from shared.ports.ecgs import Status


class EcgSummary(NamedTuple):
    """An ECG in its owner's list: what `EcgState` says of it, in short."""

    id: str
    status: Status
    submitted_at: datetime
    reanalysis: Status | None = None


class PagePosition(NamedTuple):
    """Where a page of a list ended: what its last ECG is ordered by."""

    submitted_at: datetime
    id: str


class OwnedEcgs(Protocol):
    """ECGs as their owner asks for them. Every method raises UnavailableError."""

    async def page(
        self, owner: str, *, limit: int, after: PagePosition | None = None, status: Status | None = None
    ) -> list[EcgSummary]:
        """The owner's ECGs, newest first, from the newest or from behind a place on; at most ``limit``.

        With a ``status``, those whose present generation stands so: what is analysed again counts as queued.
        Following the places gives each ECG that is there throughout exactly once, whatever comes and goes.
        """

    async def erase(
        self, owner: str, ecg_id: str, *, event_of: Callable[[EcgKey], Event]
    ) -> EventBatch | None:
        """Erase an ECG with its signals and insights and put its event into the outbox: both or neither.

        A processor that has it in hand settles nothing. The id may be submitted again; its generation goes
        on from where it was, so that no event of the one is taken for the other's.

        Returns:
            The event, as it is in the outbox; None when there is no such ECG.
        """
