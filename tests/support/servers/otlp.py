"""A collector of traces: takes what OTLP exporters send over HTTP, and answers as a test wants."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.servers.services import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from opentelemetry.proto.trace.v1.trace_pb2 import Span


class ReceivedSpan(NamedTuple):
    """A span as it was exported.

    Attributes:
        parent_id: Empty without a parent.
        failure: Its status message; None if it did not fail.
    """

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    failure: str | None
    began_ns: int
    ended_ns: int
    attributes: dict[str, str | int]


Spans: TypeAlias = list[ReceivedSpan]


class Collector:
    """A collector that listens at ``url``.

    Attributes:
        status: That it answers with; spans are taken with 200 only.
        asked: How many requests it had.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.status = 200
        self.asked = 0
        self.spans: Spans = []
        self._changed = asyncio.Condition()

    async def take(self, request: web.Request) -> web.Response:
        """Answer an exporter."""
        exported = ExportTraceServiceRequest.FromString(await request.read())
        async with self._changed:
            self.asked += 1
            if self.status == 200:
                self.spans += _spans(exported)
            self._changed.notify_all()
        return web.Response(status=self.status, content_type="application/x-protobuf")

    async def until(self, is_enough: Callable[[Spans], bool]) -> Spans:
        """Wait until the spans are enough; returns them."""
        async with self._changed:
            await self._changed.wait_for(lambda: is_enough(self.spans))
        return self.spans

    async def until_asked(self, times: int) -> None:
        """Wait until it had so many requests."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.asked >= times)


@asynccontextmanager
async def open_collector() -> AsyncIterator[Collector]:
    """Yield a collector that listens."""
    port = free_port()
    collector = Collector(f"http://127.0.0.1:{port}")
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield collector
    finally:
        await runner.cleanup()


def _spans(exported: ExportTraceServiceRequest) -> Iterable[ReceivedSpan]:
    for of_resource in exported.resource_spans:
        names = {each.key: each.value.string_value for each in of_resource.resource.attributes}
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield _received(names["service.name"], span)


def _received(service: str, span: Span) -> ReceivedSpan:
    return ReceivedSpan(
        service,
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.status.message if span.status.code == span.status.STATUS_CODE_ERROR else None,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        {each.key: each.value.string_value or each.value.int_value for each in span.attributes},
    )
