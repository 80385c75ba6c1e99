"""The processes that work on an installation now."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID


# A process speaks every 5 s. An operator has to hear within 10 that one is frozen.
_SILENT_AFTER_S: Final = 9.0


class ProcessState(StrEnum):
    """What a process does."""

    WORKING = "working"
    DRAINING = "draining"
    PAUSED = "paused"
    SILENT = "silent"
    ENDED = "ended"


class Presence(NamedTuple):
    """What a process says of itself.

    Attributes:
        id: Made by `shared.ports.claim_ids.new_process_id` when it started.
        worker: Its number, from 1.
        is_draining: Whether it leaves and takes nothing new.
        held_ecgs: ECGs that it was given and has not settled; None for a gateway.
        is_paused: Whether an operator has paused it, so that it takes nothing new.
        pid: Its number on its host; None if an earlier release did not say it.
    """

    id: UUID
    service: str
    worker: int
    host: str
    release: str
    is_draining: bool = False
    held_ecgs: int | None = None
    is_paused: bool = False
    pid: int | None = None

    @property
    def place(self) -> tuple[str, int, str]:
        """What it has in common with the process that is started in its place."""
        return self.service, self.worker, self.host

    @property
    def name(self) -> str:
        """Which it is, for operators: ``processor/1 on host-1, pid 4711``."""
        pid = "" if self.pid is None else f", pid {self.pid}"
        return f"{self.service}/{self.worker} on {self.host}{pid}"


class RunningProcess(NamedTuple):
    """A process that was seen lately.

    Attributes:
        seen_at: When it last spoke, by PostgreSQL's clock.
        seen_s: For how many seconds it has said nothing since; it speaks every few seconds.
        ended_at: When it left; None if it works, or was killed.
    """

    presence: Presence
    started_at: datetime
    seen_at: datetime
    seen_s: float
    ended_at: datetime | None = None

    @property
    def state(self) -> ProcessState:
        """What it does, or that nothing was heard of it lately."""
        if self.ended_at is not None:
            return ProcessState.ENDED
        if self.seen_s > _SILENT_AFTER_S:
            return ProcessState.SILENT
        if self.presence.is_draining:
            return ProcessState.DRAINING
        return ProcessState.PAUSED if self.presence.is_paused else ProcessState.WORKING


def missed_processes(processes: Sequence[RunningProcess]) -> list[RunningProcess]:
    """The silent ones in whose place no younger process has begun: frozen, cut off, or killed for good."""
    candidates = [it for it in processes if it.state not in {ProcessState.SILENT, ProcessState.ENDED}]
    missed = []
    for process in processes:
        if process.state is not ProcessState.SILENT:
            continue
        for candidate in candidates:
            is_younger = candidate.started_at > process.started_at
            if is_younger and candidate.presence.place == process.presence.place:
                candidates.remove(candidate)
                break
        else:
            missed.append(process)
    return missed


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
