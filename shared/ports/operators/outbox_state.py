"""Event batches that are not published yet, as operators see them: never what an event says."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


class WaitingBatch(NamedTuple):
    """A batch of events in the outbox.

    Attributes:
        events: How many.
        republished: How often the relay has published it again.
        due_at: When the relay publishes it next.
    """

    events: int
    republished: int
    created_at: datetime
    due_at: datetime


class OutboxReader(Protocol):
    """Reads the outbox."""

    async def waiting(self, *, limit: int) -> Sequence[WaitingBatch]:
        """Batches in the outbox, those that are due first, at most ``limit``.

        Raises:
            UnavailableError: It can't be read.
        """
