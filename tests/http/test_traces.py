"""Each event carries the trace of the request that caused it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from gateway.ecgs import handlers
from shared.events import EventType
from shared.observability.tracing import recording_with
from tests.http.conftest import QUEUE
from tests.support.builders import a_binary_ecg, an_ecg_body
from tests.support.spans import RememberingTracer

if TYPE_CHECKING:
    import aiohttp

    from shared.broker.in_process import InProcessBroker

_LIMIT_S: Final = 20
_SUBSCRIBER: Final = "sub.test"
_TRACE_ID: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
_HEADERS: Final = {"traceparent": f"00-{_TRACE_ID}-00f067aa0ba902b7-01"}
_FORMS: Final[dict[str, dict[str, Any]]] = {
    "JSON": {"json": an_ecg_body(), "headers": _HEADERS},
    "binary": {
        "data": a_binary_ecg(an_ecg_body()),
        "headers": _HEADERS | {"Content-Type": "application/vnd.isoline.ecg"},
    },
}


def traces(broker: InProcessBroker, queue: str) -> list[str]:
    """The trace of each event that waits in a queue."""
    return [json.loads(body)["traceparent"].split("-")[1] for body in broker.waiting(queue)]


@pytest.fixture
def subscriber(broker: InProcessBroker) -> str:
    """A queue bound to the events of ECGs."""
    broker.bind(_SUBSCRIBER, EventType.PROCESSED, EventType.FAILED, EventType.DELETED)
    return _SUBSCRIBER


@pytest.fixture(params=[False, True], ids=["whole", "in parts"])
def _stored(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """ECGs are stored with others, or in parts as if they were long."""
    if request.param:
        monkeypatch.setattr(handlers, "_IN_PARTS_ABOVE_SAMPLES", 0)


@pytest.mark.parametrize("form", _FORMS)
@pytest.mark.usefixtures("_stored")
async def test_a_submission_is_announced_in_its_trace(
    ada: aiohttp.ClientSession, broker: InProcessBroker, form: str
) -> None:
    async with ada.post("/ecg/process", **_FORMS[form]) as response:
        assert response.status == 202

    assert traces(broker, QUEUE) == [_TRACE_ID]


@pytest.mark.parametrize("form", _FORMS)
@pytest.mark.usefixtures("_stored", "processor")
async def test_its_result_is_announced_in_its_trace(
    ada: aiohttp.ClientSession, broker: InProcessBroker, subscriber: str, form: str
) -> None:
    async with ada.post("/ecg/process", **_FORMS[form]) as response:
        assert response.status == 202

    async with asyncio.timeout(_LIMIT_S):
        while not broker.waiting(subscriber):
            await broker.wait_for_change()
    assert traces(broker, subscriber) == [_TRACE_ID]


async def test_an_erasure_is_announced_in_the_trace_of_its_request(
    ada: aiohttp.ClientSession, broker: InProcessBroker, subscriber: str
) -> None:
    async with ada.post("/ecg/process", json=an_ecg_body()) as response:
        assert response.status == 202

    async with ada.delete("/ecg/10", headers=_HEADERS) as response:
        assert response.status == 204

    assert traces(broker, subscriber) == [_TRACE_ID]


@pytest.mark.parametrize("form", _FORMS)
@pytest.mark.usefixtures("_stored")
async def test_a_submission_has_a_span_of_its_commit_and_one_of_its_announcement(
    ada: aiohttp.ClientSession, form: str
) -> None:
    tracer = RememberingTracer()

    with recording_with(tracer):
        async with ada.post("/ecg/process", **_FORMS[form]) as response:
            assert response.status == 202

    assert [span.name for span in tracer.spans] == ["commit", "publish ecg.submitted"]
    [parent] = {span.parent for span in tracer.spans}
    assert parent is not None
    assert parent.split("-")[1] == _TRACE_ID
    assert {span.failure for span in tracer.spans} == {None}
