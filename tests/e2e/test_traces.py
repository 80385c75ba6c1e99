"""One trace leads from a request to the subscriber's event, on real servers and by OTLP."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import aio_pika
import aiohttp
import pytest

from tests.e2e.conftest import PASSWORD
from tests.support.servers.otlp import open_collector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.broker.topology import Topology
    from shared.storage.pool.database import Database
    from tests.e2e.conftest import Installation
    from tests.support.servers.otlp import Collector, ReceivedSpan, Spans

_WITHIN_S: Final = 180.0
_TRACE_ID: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
_SPAN_OF_CLIENT: Final = "00f067aa0ba902b7"
_ECG: Final = {"date": "2026-01-05", "leads": [{"name": "I", "signal": [1, -1, 1]}]}
_STAGES: Final = ["claim", "measure", "commit", "publish ecg.processed"]


@pytest.fixture
async def collector(installation: Installation) -> AsyncIterator[Collector]:
    """A collector to which the services of the installation export."""
    async with open_collector() as collector:
        installation.environment |= {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "ISOLINE_RELAY_INTERVAL_S": "0.1",
        }
        yield collector


@asynccontextmanager
async def client(installation: Installation) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that is logged in; that is in no trace of ours."""
    async with aiohttp.ClientSession(installation.address) as session:
        headers = {"traceparent": f"00-{_TRACE_ID[::-1]}-{_SPAN_OF_CLIENT}-00"}
        body = {"user": "ada", "password": PASSWORD}
        async with session.post("/token", json=body, headers=headers) as answer:
            session.headers["Authorization"] = f"Bearer {(await answer.json())['access_token']}"
        yield session


async def submit(session: aiohttp.ClientSession, ecg_id: str = "10", *, flags: str = "01") -> None:
    headers = {"traceparent": f"00-{_TRACE_ID}-{_SPAN_OF_CLIENT}-{flags}"}
    async with session.post("/ecg/process", json=_ECG | {"id": ecg_id}, headers=headers) as answer:
        assert answer.status == 202


@asynccontextmanager
async def open_subscriber(amqp_url: str, topology: Topology) -> AsyncIterator[asyncio.Queue[dict[str, Any]]]:
    """A subscriber of results; its events in a queue."""
    events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def receive(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        events.put_nowait(json.loads(message.body))

    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(topology.exchange, "ecg.processed")
        await queue.consume(receive, no_ack=True)
        yield events


def children(spans: Spans, parent_id: str) -> list[ReceivedSpan]:
    return sorted((span for span in spans if span.parent_id == parent_id), key=lambda span: span.ended_ns)


def the_span(spans: Spans, name: str) -> ReceivedSpan:
    [span] = [span for span in spans if span.name == name]
    return span


async def test_one_tree_leads_from_the_request_to_the_event(
    installation: Installation, collector: Collector, amqp_url: str, topology: Topology
) -> None:
    await asyncio.gather(installation.start_gateway(), installation.start_processor())
    async with (
        asyncio.timeout(_WITHIN_S),
        client(installation) as ada,
        open_subscriber(amqp_url, topology) as events,
    ):
        await submit(ada, "9", flags="00")
        unsampled = await events.get()
        await submit(ada)
        event = await events.get()
        spans = await collector.until(lambda spans: len(spans) >= 8)

    assert {span.trace_id for span in spans} == {_TRACE_ID}
    [request] = children(spans, _SPAN_OF_CLIENT)
    assert (request.service, request.name) == ("isoline-gateway", "POST /ecg/process")
    assert request.attributes["http.response.status_code"] == 202
    assert request.attributes["isoline.ecg"] == "ada/10"
    below = children(spans, request.span_id)
    assert {span.name for span in below} == {"commit", "publish ecg.submitted", "analyse"}
    analysis = the_span(below, "analyse")
    assert analysis.service == "isoline-processor"
    assert (analysis.attributes["isoline.ecg"], analysis.attributes["isoline.attempt"]) == ("ada/10", 1)
    stages = [span for span in children(spans, analysis.span_id) if not _by_relay(span)]
    assert [span.name for span in stages] == _STAGES
    assert all(analysis.began_ns <= span.began_ns <= span.ended_ns <= analysis.ended_ns for span in stages)
    assert event["traceparent"] == f"00-{_TRACE_ID}-{analysis.span_id}-01"
    assert {span.failure for span in spans} == {None}
    assert re.fullmatch(f"00-{_TRACE_ID}-[0-9a-f]{{16}}-00", unsampled["traceparent"])


async def test_it_does_so_where_the_relay_published_both_ways_later(
    installation: Installation, collector: Collector, database: Database, amqp_url: str, topology: Topology
) -> None:
    await installation.start_gateway()
    await _delete_queue(amqp_url, topology)
    async with asyncio.timeout(_WITHIN_S), client(installation) as ada:
        await submit(ada)  # no queue is bound to what announces it
        await _make_due(database, "ecg")
        await installation.start_processor()
        await collector.until(lambda spans: any(span.name == "analyse" for span in spans))
        async with open_subscriber(amqp_url, topology) as events:  # none was bound to the event
            await _make_due(database, "outbox")
            event = await events.get()
        spans = await collector.until(
            lambda spans: any(_by_relay(span) and span.name.endswith("processed") for span in spans)
        )

    assert {span.trace_id for span in spans} == {_TRACE_ID}
    [request] = children(spans, _SPAN_OF_CLIENT)
    below = children(spans, request.span_id)
    announcements = [span for span in below if span.name == "publish ecg.submitted"]
    assert [_by_relay(span) for span in announcements][:2] == [False, True]
    assert announcements[0].failure
    assert announcements[-1].failure is None
    analysis = the_span(below, "analyse")
    publishes = [span for span in children(spans, analysis.span_id) if span.name == "publish ecg.processed"]
    assert [_by_relay(span) for span in publishes][:2] == [False, True]
    assert publishes[0].failure
    assert publishes[-1].failure is None
    assert event["traceparent"] == f"00-{_TRACE_ID}-{analysis.span_id}-01"


def _by_relay(span: ReceivedSpan) -> bool:
    return span.attributes.get("isoline.published_by") == "relay"


async def _delete_queue(amqp_url: str, topology: Topology) -> None:
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.queue_delete(topology.submitted_queue)


async def _make_due(database: Database, table: str) -> None:
    async with database.connection() as connection:
        await connection.execute(f"UPDATE {table} SET due_at = now()")  # noqa: S608 - ours
