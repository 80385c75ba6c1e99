"""An outbox and a publisher with scripted results, which record what is asked of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

from shared.domain.errors import UnavailableError, UnroutableError
from shared.events import EcgKey, Event, EventBatch, processed_event

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from shared.ports.outbox import Backoff, DueEcg


class ScriptedOutbox:
    """A `shared.ports.outbox.Outbox` with these due ECGs and batches, a list of them for each sweep."""

    def __init__(
        self,
        *,
        ecgs: Sequence[list[DueEcg]] = (),
        batches: Sequence[list[EventBatch]] = (),
        is_away: bool = False,
    ) -> None:
        self._ecgs = iter(ecgs)
        self._batches = iter(batches)
        self._is_away = is_away
        self.asked_for: list[int] = []
        self.backoffs: list[Backoff] = []
        self.put_back_keys: list[EcgKey] = []
        self.cleared: list[UUID] = []
        self.kept: list[EventBatch] = []
        self.dropped: list[UUID] = []

    async def take_due_ecgs(self, limit: int, backoff: Backoff) -> list[DueEcg]:
        self.asked_for.append(limit)
        self.backoffs.append(backoff)
        return next(self._ecgs, [])

    async def put_back_ecgs(self, keys: Collection[EcgKey]) -> None:
        self.put_back_keys += keys

    async def take_due_events(self, limit: int, backoff: Backoff) -> list[EventBatch]:
        self.asked_for.append(limit)
        self.backoffs.append(backoff)
        return next(self._batches, [])

    async def clear(self, batch_ids: Collection[UUID]) -> None:
        if self._is_away:
            raise UnavailableError("PostgreSQL is away")
        assert batch_ids, "nothing is asked for nothing"
        self.cleared += batch_ids

    async def keep_unconfirmed(self, batch: EventBatch) -> None:
        self.kept.append(batch)

    async def drop_unrouted(self, batch_ids: Collection[UUID]) -> set[UUID]:
        assert batch_ids, "nothing is asked for nothing"
        self.dropped += batch_ids
        return set(batch_ids)


class ScriptedPublisher:
    """A `shared.ports.broker.Publisher` with these outcomes, one after the other; all else succeeds."""

    def __init__(
        self,
        *outcomes: UnroutableError | UnavailableError | None,
        checks: Sequence[UnavailableError | None] = (),
    ) -> None:
        self._outcomes = iter(outcomes)
        self._checks = iter(checks)
        self.published: list[Event] = []

    async def check(self) -> None:
        if failure := next(self._checks, None):
            raise failure

    async def publish(self, events: Sequence[Event]) -> list[UnroutableError | UnavailableError | None]:
        assert events
        self.published += events
        return [next(self._outcomes, None) for _ in events]


def an_event_batch(events: int = 1) -> EventBatch:
    """Events of as many ECGs, ``ada/0`` and so on."""
    keys = [EcgKey("ada", str(number)) for number in range(events)]
    now = datetime.now(UTC)
    return EventBatch(
        uuid4(), [processed_event(key, {}, source=str(uuid4()), now=now, traceparent=None) for key in keys]
    )
