"""Publish event batches of the outbox, and take from it what the broker confirmed."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

from prometheus_client import Counter

from shared.domain.errors import UnavailableError, UnroutableError
from shared.events import EventBatch, subject_of, traceparent_of
from shared.observability.logs import Logger
from shared.observability.tracing import SpanKind, now_ns, present_tracer, record_spans
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


async def publish_batches(
    batches: Sequence[EventBatch], *, outbox: Outbox, publisher: Publisher, by: str | None = None
) -> None:
    """Publish event batches of the outbox and clear the events that the broker confirmed.

    The others stay there and are due again later; unrouted ones are dropped after a grace of 60 s.

    Args:
        batches: Of the outbox.
        outbox: Where they are.
        publisher: To the broker.
        by: Who publishes them, for their traces, if that is not who made them.

    Raises:
        UnavailableError: Some that were published may not be cleared; they will be published again.
    """
    outcomes = iter(await _publish([event for batch in batches for event in batch.events], publisher, by))
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


async def _publish(
    events: Sequence[Event], publisher: Publisher, by: str | None
) -> Sequence[UnroutableError | UnavailableError | None]:
    """Publish events, each in a span of its trace."""
    if present_tracer() is None:
        return await publisher.publish(events)
    began_ns = now_ns()
    outcomes: Sequence[UnroutableError | UnavailableError | None]
    outcomes = [UnavailableError("the wait for the broker was cut short")] * len(events)
    try:
        outcomes = await publisher.publish(events)
    except UnavailableError as error:
        outcomes = [error] * len(events)
        raise
    finally:
        for event, outcome in zip(events, outcomes, strict=True):
            record_spans(
                f"publish {event.type}",
                [traceparent_of(event)],
                began_ns=began_ns,
                kind=SpanKind.PRODUCER,
                failure=None if outcome is None else str(outcome),
                isoline__published_by=by,
                isoline__batch__events=len(events),
            )
    return outcomes


def _note_dropped(events: Sequence[Event]) -> None:
    _DROPPED.inc(len(events))
    ecgs = [subject_of(event) for event in events[:_MAX_LOGGED_ECGS]]
    _log.info("unrouted events were dropped", count=len(events), ecgs=ecgs)
