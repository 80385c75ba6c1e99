"""The relay: publishes again what is due, so that no ECG depends on a single message.

It sweeps every queued ECG by age, announced or not: a broker may lose a message that it confirmed.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from shared.domain.errors import UnavailableError
from shared.events import MAX_ECGS_PER_EVENT, submitted_event
from shared.observability.logs import Logger
from shared.observability.metrics import counters
from shared.observability.tracing import SpanKind, now_ns, record_spans
from shared.ports.outbox import REPUBLISH_BACKOFF
from shared.publishing import publish_batches
from shared.runtime.outages import Outages
from shared.runtime.retry import backoff_s

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shared.events import Event
    from shared.ports.broker import Publisher
    from shared.ports.event_source import EventSource
    from shared.ports.outbox import DueEcg, Outbox

_PAGE: Final = 512
_BY_RELAY: Final = "relay"

_REPUBLISHED: Final = counters(
    "isoline_relay_republished_total",
    "ECGs and events that the relay published again, because they were due.",
    what=("ecgs", "events"),
)

_log = Logger(__name__)


def _never() -> bool:
    return False


async def run_relay(
    *,
    outbox: Outbox,
    publisher: Publisher,
    event_source: EventSource,
    interval_s: float,
    is_intake_paused: Callable[[], bool] = _never,
    announcer: Publisher | None = None,
) -> None:
    """Sweep forever: ten times as often while pages are full, with backoff while a service is unavailable.

    So a backlog drains at 10 pages per interval at the most, which leaves capacity for new submissions.

    Args:
        outbox: What is due.
        publisher: Publishes it.
        event_source: Of the events.
        interval_s: Between two sweeps.
        is_intake_paused: Whether no processor takes ECGs, so that they are not announced in vain.
        announcer: Publishes ECGs where events have a broker of their own. While that is away, events wait and
            ECGs are announced all the same.
    """
    failures, outages = 0, Outages("the relay")
    while True:
        began_s = time.monotonic()
        try:
            is_full = await _sweep(
                outbox, publisher, event_source, announces=not is_intake_paused(), announcer=announcer
            )
            failures = 0
            outages.record_success()
        except UnavailableError as error:
            is_full, failures = False, failures + 1
            if not error.is_logged:
                outages.record_failure(str(error), waited_s=time.monotonic() - began_s)
        pause_s = backoff_s(failures + 1, first_s=interval_s, longest_s=10 * interval_s)
        await asyncio.sleep(pause_s / 10 if is_full else pause_s)


async def _sweep(
    outbox: Outbox,
    publisher: Publisher,
    event_source: EventSource,
    *,
    announces: bool = True,
    announcer: Publisher | None = None,
) -> bool:
    """Publish one page of due events, and of due ECGs if they are announced; whether more may be due.

    Raises:
        UnavailableError: Broker or database; without the broker nothing is asked of the database.
    """
    of_ecgs = announcer or publisher
    await of_ecgs.check()
    announced = await _announce_due(outbox, of_ecgs, await event_source.uri()) if announces else 0
    if announcer is not None and not await _is_available(publisher):
        return announced == _PAGE
    batches = await outbox.take_due_events(_PAGE, REPUBLISH_BACKOFF)
    if batches:
        await publish_batches(batches, outbox=outbox, publisher=publisher, by=_BY_RELAY)
        _REPUBLISHED["events"].inc(sum(len(batch.events) for batch in batches))
    return announced == _PAGE or sum(len(batch.events) for batch in batches) >= _PAGE


async def _is_available(publisher: Publisher) -> bool:
    """Whether publishing can succeed now; who keeps its connection logs why not."""
    try:
        await publisher.check()
    except UnavailableError:
        return False
    return True


async def _announce_due(outbox: Outbox, publisher: Publisher, source: str) -> int:
    """Announce queued ECGs that are due; how many.

    Raises:
        UnavailableError: The broker did not confirm some of them; those are put back.
    """
    ecgs = await outbox.take_due_ecgs(_PAGE, REPUBLISH_BACKOFF)
    batches = [ecgs[start : start + MAX_ECGS_PER_EVENT] for start in range(0, len(ecgs), MAX_ECGS_PER_EVENT)]
    events = [_submitted(batch, source) for batch in batches]
    began_ns = now_ns()
    outcomes = await publisher.publish(events) if events else []
    failures = [failure for failure in outcomes if failure is not None]
    record_spans(
        "publish ecg.submitted",
        (ecg.traceparent for ecg in ecgs),
        began_ns=began_ns,
        kind=SpanKind.PRODUCER,
        failure=str(failures[0]) if failures else None,
        isoline__published_by=_BY_RELAY,
        isoline__batch__ecgs=len(ecgs),
    )
    if failures:
        unconfirmed = [batch for batch, failure in zip(batches, outcomes, strict=True) if failure is not None]
        await outbox.put_back_ecgs([ecg.key for batch in unconfirmed for ecg in batch])
        raise UnavailableError(f"ECGs could not be announced: {failures[0]}")
    if ecgs:
        _REPUBLISHED["ecgs"].inc(len(ecgs))
        _log.info("queued ECGs were announced again", count=len(ecgs))
    return len(ecgs)


def _submitted(ecgs: Sequence[DueEcg], source: str) -> Event:
    """The event carries the trace of its first ECG, as that of a gateway does; each ECG's own is stored."""
    keys = [ecg.key for ecg in ecgs]
    return submitted_event(keys, source=source, now=datetime.now(UTC), traceparent=ecgs[0].traceparent)
