"""Operations on ECGs by operators, and the record of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from shared.domain.findings import JsonValue
    from shared.events import EcgKey


class AuditNote(NamedTuple):
    """Who runs an operation on production, and why."""

    who: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Conditions on finished ECGs; those are selected that meet all of the given ones.

    Attributes:
        failed: Only failed ones, as those of a ``reason`` are.
        reason: Why they failed, in the words of their error.
        since: Finished then or later.
        until: Finished earlier.
    """

    id: str | None = None
    owner: str | None = None
    failed: bool = False
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it has no condition, so that it selects every finished ECG."""
        return not any(asdict(self).values())


class Operations(Protocol):
    """Operations on finished ECGs, and the record of them. Every method raises UnavailableError."""

    async def now(self) -> datetime:
        """The time of the clock that dates the end of an ECG's analysis."""

    async def count(self, selection: Selection) -> int:
        """How many finished ECGs are selected."""

    async def replay(
        self, selection: Selection, note: AuditNote, *, finished_before: datetime, limit: int
    ) -> list[EcgKey]:
        """Queue selected ECGs again, in their next generation and due at once, and record it, or neither.

        At most ``limit`` of those that were finished before that time. One that is queued is left alone.
        """

    async def record(self, what: str, subject: JsonValue, note: AuditNote) -> None:
        """Record that an operator is about to do this."""
