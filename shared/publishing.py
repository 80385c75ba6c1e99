"""Publish event batches of the outbox, and take from it what the broker confirmed."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter

from shared.domain.errors import UnroutableError
from shared.events import EventBatch, subject_of
from shared.observability.logs import Logger
from shared.runtime import failpoint

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from shared.events import Event
    from shared.ports.broker import Publisher
    from shared.ports.outbox import Outbox

# Those of a whole batch; a record of all that a relay may drop at once would be too long to read.
_MAX_LOGGED_ECGS: Final = 100

_DROPPED: Final = Counter(
    "isoline_unrouted_events_dropped_total",
    "Events that no queue was bound to for 60 s, and so were dropped.",
)

_log = Logger(__name__)


async def publish_batches(batches: Sequence[EventBatch], *, outbox: Outbox, publisher: Publisher) -> None:
    """Publish event batches of the outbox and clear the events that the broker confirmed.

    The others stay there and are due again later; unrouted ones are dropped after a grace of 60 s.

    Raises:
        UnavailableError: Some that were published may not be cleared; they will be published again.
    """
    outcomes = iter(await publisher.publish([event for batch in batches for event in batch.events]))
    failpoint.reach("after-event")
    published: list[UUID] = []
    rests: list[EventBatch] = []
    unrouted: dict[UUID, list[Event]] = {}
    for batch in batches:
        by_event = zip(batch.events, islice(outcomes, len(batch.events)), strict=True)
        failures = {event: failure for event, failure in by_event if failure is not None}
        if not failures:
            published.append(batch.id)
            continue
        if len(failures) < len(batch.events):
            rests.append(EventBatch(batch.id, list(failures)))
        if all(isinstance(failure, UnroutableError) for failure in failures.values()):
            unrouted[batch.id] = list(failures)
    if published:
        await outbox.clear(published)
    for rest in rests:
        await outbox.keep_unconfirmed(rest)
    if unrouted and (dropped := await outbox.drop_unrouted(list(unrouted))):
        _note_dropped([event for batch_id in dropped for event in unrouted[batch_id]])


def _note_dropped(events: Sequence[Event]) -> None:
    _DROPPED.inc(len(events))
    ecgs = [subject_of(event) for event in events[:_MAX_LOGGED_ECGS]]
    _log.info("unrouted events were dropped", count=len(events), ecgs=ecgs)
