"""The intake of the processors, which an operator can pause."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from shared.ports.operators.operations import AuditNote


class IntakeState(NamedTuple):
    """Whether processors take ECGs.

    Attributes:
        is_paused: They take nothing new; what they hold they settle.
        who: Set it so last; empty if it was never paused.
        why: The reason that was given.
        since: Since when it is so; None if it was never paused.
    """

    is_paused: bool = False
    who: str = ""
    why: str = ""
    since: datetime | None = None


class Intake(Protocol):
    """The intake of all processors. Every method raises UnavailableError."""

    async def read(self) -> IntakeState:
        """The present state. It survives restarts of everything."""

    async def change(self, note: AuditNote, *, is_paused: bool) -> IntakeState:
        """Pause it, or let it go on, and record that, or neither; the new state."""
