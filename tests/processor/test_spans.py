"""The spans of ECGs that are settled together."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import pytest

from processor.deliveries.circuit_breaker import CircuitOpenError
from processor.deliveries.settle import Dependencies, settle_deliveries
from processor.insights import INSIGHTS
from shared.domain.errors import UnavailableError
from shared.events import EcgKey, submitted_event
from shared.observability.tracing import recording_with
from shared.ports.ecgs import Submission
from tests.processor.conftest import HandedOver, Listener
from tests.support.builders import SOURCE, AnEventSource, a_lead_insight, an_ecg
from tests.support.spans import RememberingTracer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from shared.domain.errors import UnroutableError
    from shared.domain.findings import Finding
    from shared.domain.insights import Insight, Signal
    from shared.events import Event
    from shared.storage.postgres.ecgs import PostgresEcgStore
    from shared.storage.postgres.outbox import PostgresOutbox

_REQUEST: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_UNSAMPLED: Final = _REQUEST[:-2] + "00"
_WHY: Final = "raiser of lead I could not be measured: ValueError"


@pytest.fixture
def tracer() -> Iterator[RememberingTracer]:
    tracer = RememberingTracer()
    with recording_with(tracer):
        yield tracer


def _raise(_: Signal, __: Mapping[str, Finding]) -> Finding:
    raise ValueError


def some_dependencies(
    store: PostgresEcgStore, outbox: PostgresOutbox, publisher: Listener, *more: Insight
) -> Dependencies:
    return Dependencies(
        store=store,
        outbox=outbox,
        publisher=publisher,
        event_source=AnEventSource(),
        insights=INSIGHTS + more,
        max_attempts=2,
        batch_samples=1000,
    )


async def submitted(store: PostgresEcgStore, **traceparents: str | None) -> HandedOver:
    """A delivery of these ECGs, with the contexts that they were submitted in."""
    every = [Submission("ada", an_ecg(ecg_id), context) for ecg_id, context in traceparents.items()]
    await store.add(every)
    keys = [EcgKey("ada", ecg_id) for ecg_id in traceparents]
    return HandedOver(submitted_event(keys, source=SOURCE, now=datetime.now(UTC)).body)


def contexts(events: Sequence[Event]) -> dict[str, str | None]:
    """The context of each event by its ECG."""
    bodies = [json.loads(event.body) for event in events]
    return {body["data"]["id"]: body.get("traceparent") for body in bodies}


async def test_a_sampled_ecg_has_a_span_with_its_stages_and_others_have_none(
    store: PostgresEcgStore, outbox: PostgresOutbox, listener: Listener, tracer: RememberingTracer
) -> None:
    delivery = await submitted(store, sampled=_REQUEST, unsampled=_UNSAMPLED, without=None)

    await settle_deliveries([delivery], deps=some_dependencies(store, outbox, listener))

    [analysis] = tracer.named("analyse")
    assert (analysis.parent, analysis.failure) == (_REQUEST, None)
    assert analysis.attributes["isoline__ecg"] == "ada/sampled"
    stages = tracer.below(analysis)
    assert [span.name for span in stages] == ["claim", "measure", "commit", "publish ecg.processed"]
    assert stages[1].attributes == {"isoline__batch__ecgs": 1}
    assert len(tracer.spans) == 5
    assert all(span.ended_ns for span in tracer.spans)
    assert contexts(listener.received) == {
        "sampled": analysis.traceparent,
        "unsampled": _UNSAMPLED,
        "without": None,
    }


async def test_each_attempt_has_a_span_with_the_reason_of_its_failure(
    store: PostgresEcgStore, outbox: PostgresOutbox, listener: Listener, tracer: RememberingTracer
) -> None:
    delivery = await submitted(store, a=_REQUEST)
    deps = some_dependencies(store, outbox, listener, a_lead_insight("raiser", _raise))

    await settle_deliveries([delivery], deps=deps)
    await settle_deliveries([delivery], deps=deps)

    analyses = tracer.named("analyse")
    assert [span.failure for span in analyses] == [_WHY, _WHY]
    assert [span.attributes["isoline__attempt"] for span in analyses] == [1, 2]
    assert [span.name for span in tracer.below(analyses[0])] == ["claim", "measure"]
    assert [span.name for span in tracer.below(analyses[1])] == [
        "claim",
        "load",
        "measure",
        "commit",
        "publish ecg.failed",
    ]
    assert contexts(listener.received) == {"a": analyses[1].traceparent}


async def test_one_that_is_given_back_has_a_span_that_says_so(
    store: PostgresEcgStore,
    outbox: PostgresOutbox,
    listener: Listener,
    tracer: RememberingTracer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    delivery = await submitted(store, a=_REQUEST)
    deps = some_dependencies(store, outbox, listener)

    async def interrupted() -> str:
        raise CircuitOpenError

    monkeypatch.setattr(deps.event_source, "uri", interrupted)
    await settle_deliveries([delivery], deps=deps)

    [analysis] = tracer.named("analyse")
    assert analysis.failure is not None
    assert "interrupted" in analysis.failure
    assert delivery.ended == []  # its result was about to be committed
    assert listener.received == []


async def test_an_event_that_could_not_be_published_has_a_span_that_says_why(
    store: PostgresEcgStore, outbox: PostgresOutbox, tracer: RememberingTracer
) -> None:
    class Away(Listener):
        async def publish(self, events: Sequence[Event]) -> list[UnroutableError | UnavailableError | None]:
            raise UnavailableError(f"RabbitMQ is away for {len(events)} events")

    delivery = await submitted(store, a=_REQUEST)

    await settle_deliveries([delivery], deps=some_dependencies(store, outbox, Away()))

    [analysis], [publish] = tracer.named("analyse"), tracer.named("publish ecg.processed")
    assert (publish.parent, publish.failure) == (analysis.traceparent, "RabbitMQ is away for 1 events")
    assert analysis.failure is None
    assert delivery.ended == ["ack"]
