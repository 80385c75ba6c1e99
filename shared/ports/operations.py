"""What operators do by hand, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from shared.domain.findings import JsonValue
    from shared.events import EcgKey


class Reason(NamedTuple):
    """Who does something to production, and why."""

    who: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which finished ECGs are meant: those that every given condition fits."""

    id: str | None = None
    owner: str | None = None
    failed: bool = False
    since: datetime | None = None


class Operations(Protocol):
    """What operators do to finished ECGs, and the record of it. Every method raises UnavailableError."""

    async def now(self) -> datetime:
        """What time it is by the clock that says when an ECG was finished."""

    async def count(self, selection: Selection) -> int:
        """How many finished ECGs a selection means."""

    async def replay(
        self, selection: Selection, reason: Reason, *, finished_before: datetime, limit: int
    ) -> list[EcgKey]:
        """Queue selected ECGs again, in their next generation and due at once, and record it, or neither.

        At most ``limit`` of those that were finished before that time. One that is queued is left alone.
        """

    async def record(self, what: str, subject: JsonValue, reason: Reason) -> None:
        """Keep that an operator is about to do this."""
