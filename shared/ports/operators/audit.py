"""The audit: what operators did, who did it, when and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from shared.domain.findings import JsonValue


class AuditRecord(NamedTuple):
    """A record of an operation.

    Attributes:
        number: Ascending.
        what: In a word or two: ``replay``, ``dlq drop``, ``intake paused``.
        subject: On what; of replayed ECGs just how many, and how they were selected.
    """

    number: int
    at: datetime
    who: str
    why: str
    what: str
    subject: JsonValue


class Audit(Protocol):
    """Reads the audit."""

    async def page(self, *, limit: int, before: int | None = None) -> Sequence[AuditRecord]:
        """The latest records, newest first, at most ``limit``; those ``before`` a number.

        Raises:
            UnavailableError: It can't be read.
        """
