"""The outbox: ECGs and events that still have to be published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from shared.events import EcgKey, EventBatch


class Backoff(NamedTuple):
    """How far ahead a due time is set: by ``first_s``, then twice as far each time, up to ``longest_s``."""

    first_s: float
    longest_s: float


# When what is stored is published again. The process that stores an ECG or an event also publishes it, at
# once; the first due time is later than that nearly always, so that the relay publishes only what was missed.
FIRST_DUE_AFTER_S: Final = 10.0
# A recording takes longer: announced again before it is measured, it would seem to be at its second attempt.
RECORDING_FIRST_DUE_AFTER_S: Final = 60.0
# The relay publishes an ECG that stays queued, or an event that stays unconfirmed, again after 10 s, 20 s,
# 40 s ... 300 s.
REPUBLISH_BACKOFF: Final = Backoff(first_s=10.0, longest_s=300.0)


class DueEcg(NamedTuple):
    """A queued ECG that is to be announced again, and the trace context of its submission."""

    key: EcgKey
    traceparent: str | None


class Outbox(Protocol):
    """ECGs and events that still have to be published. Every method raises UnavailableError."""

    async def take_due_ecgs(self, limit: int, backoff: Backoff) -> list[DueEcg]:
        """Queued ECGs whose due time has passed; it moves out by the backoff.

        A due time further ahead than the longest backoff counts as passed: a clock was set back.
        """

    async def put_back_ecgs(self, keys: Collection[EcgKey]) -> None:
        """Make these due again shortly and undo their backoff: they could not be published."""

    async def take_due_events(self, limit: int, backoff: Backoff) -> list[EventBatch]:
        """Due event batches, by the rules of `take_due_ecgs`; the one that reaches the limit is the last."""

    async def clear(self, batch_ids: Collection[UUID]) -> None:
        """Delete these batches: the broker confirmed their events."""

    async def keep_unconfirmed(self, batch: EventBatch) -> None:
        """Keep only these events of a batch, unless fewer are left: the broker confirmed the others."""

    async def drop_unrouted(self, batch_ids: Collection[UUID]) -> set[UUID]:
        """Delete those of these unrouted batches that are older than the grace of 60 s.

        Returns:
            The ids of those that it deleted.
        """
