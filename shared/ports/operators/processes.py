"""The processes that work on an installation now."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID


class Presence(NamedTuple):
    """What a process says of itself.

    Attributes:
        id: Made by `shared.ports.claim_ids.new_process_id` when it started.
        worker: Its number, from 1.
        is_draining: Whether it leaves and takes nothing new.
        held_ecgs: ECGs that it was given and has not settled; None for a gateway.
    """

    id: UUID
    service: str
    worker: int
    host: str
    release: str
    is_draining: bool = False
    held_ecgs: int | None = None


class RunningProcess(NamedTuple):
    """A process that was seen lately.

    Attributes:
        seen_s: For how many seconds it has said nothing; it speaks every few seconds.
        ended_at: When it left; None if it works, or was killed.
    """

    presence: Presence
    started_at: datetime
    seen_s: float
    ended_at: datetime | None = None


class Processes(Protocol):
    """Processes by what they say of themselves. Every method raises UnavailableError."""

    async def announce(self, presence: Presence) -> bool:
        """Say that a process is there.

        Returns:
            False if that can't be kept: the schema is older, or the role lacks the privilege.
        """

    async def leave(self, process_id: UUID) -> None:
        """Say that a process has ended; what it tried is known by it for a week."""

    async def running(self) -> Sequence[RunningProcess]:
        """Those that were seen in the last hour, ended ones too, by service, host and worker."""
