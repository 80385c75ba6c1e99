"""Finished ECGs of all owners as operators see them: what became of each, never a sample or a result."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from shared.ports.operators.operations import Selection


class FinishedEcg(NamedTuple):
    """An ECG whose analysis has ended.

    Attributes:
        status: ``completed`` or ``failed``.
        attempts: In this generation.
        reason: Why it failed; empty if it is completed.
    """

    owner: str
    id: str
    status: str
    generation: int
    attempts: int
    reason: str
    submitted_at: datetime
    finished_at: datetime


class FinishedPosition(NamedTuple):
    """The sort key of the last ECG of a page, from which the next page goes on."""

    finished_at: datetime
    row: int


class FinishedPage(NamedTuple):
    """A page of finished ECGs.

    Attributes:
        next_position: None if there are no more.
        as_of: When it was read, by the clock that dates the end of an ECG's analysis.
    """

    ecgs: Sequence[FinishedEcg]
    next_position: FinishedPosition | None
    as_of: datetime


class FailureGroup(NamedTuple):
    """ECGs that failed for one reason.

    Attributes:
        ecgs: How many.
        owners: Of how many owners they are.
        first_at: When the first of them failed, and
        last_at: when the last did.
    """

    reason: str
    ecgs: int
    owners: int
    first_at: datetime
    last_at: datetime


class Failures(NamedTuple):
    """Failed ECGs by reason.

    Attributes:
        groups: The most frequent reason first.
        as_of: As of `FinishedPage`.
    """

    groups: Sequence[FailureGroup]
    as_of: datetime


class FinishedEcgs(Protocol):
    """Reads finished ECGs. Every method raises UnavailableError."""

    async def page(
        self, selection: Selection, *, limit: int, after: FinishedPosition | None = None
    ) -> FinishedPage:
        """The selected ECGs, the last to finish first, at most ``limit``; ``after`` a position."""

    async def failures(self, selection: Selection, *, limit: int) -> Failures:
        """The selected ECGs that failed, by reason; at most ``limit`` reasons."""
