"""The backlog: what waits to be analysed or published, and for how long."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class BacklogState(NamedTuple):
    """What waits at this moment.

    Attributes:
        queued_ecgs: ECGs that are not terminal.
        oldest_ecg_s: The age of the oldest of them in its first generation; 0.0 if there is none.
        unpublished_batches: Event batches in the outbox.
        oldest_batch_s: The age of the oldest of them; 0.0 if there is none.
    """

    queued_ecgs: int
    oldest_ecg_s: float
    unpublished_batches: int
    oldest_batch_s: float


class BacklogReader(Protocol):
    """Reads the backlog."""

    async def read(self) -> BacklogState:
        """The present backlog, by the clock that dates ECGs.

        Raises:
            UnavailableError: It can't be read.
        """
