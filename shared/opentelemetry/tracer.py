"""Spans recorded by OpenTelemetry's SDK, and exported by OTLP over HTTP from a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from shared.domain.errors import ConfigurationError
from shared.observability.tracing import SpanKind as Kind
from shared.observability.tracing import recording_with, trace_id_of
from shared.release import RELEASE
from shared.runtime.outages import Outages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from opentelemetry import trace
    from opentelemetry.sdk.trace import ReadableSpan

# A collector that does not answer must not keep a process from ending: what it was not told by then is lost.
_LAST_EXPORT_WITHIN_S: Final = 2.0
_EXPORTER_LOGGER: Final = OTLPSpanExporter.__module__
_PROCESSOR_LOGGER: Final = "opentelemetry.sdk._shared_internal"

_KINDS: Final = {kind: SpanKind[kind.name] for kind in Kind}
_NO_PARENT: Final = Context()


class OpenTelemetrySpan:
    """`shared.observability.tracing.Span` of the SDK."""

    __slots__ = ("_span",)

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        """As the port says."""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def end(
        self,
        *,
        name: str = "",
        failure: str | None = None,
        ended_ns: int | None = None,
        **attributes: str | int | None,
    ) -> None:
        """As the port says."""
        if not self._span.is_recording():
            return
        if name:
            self._span.update_name(name)
        if attributes:
            self._span.set_attributes(_named(attributes))
        if failure is not None:
            self._span.set_status(Status(StatusCode.ERROR, failure))
        self._span.end(ended_ns)


class OpenTelemetryTracer:
    """`shared.observability.tracing.Tracer` of the SDK."""

    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    def begin(
        self,
        name: str,
        kind: Kind,
        *,
        parent: str | None,
        began_ns: int | None = None,
        **attributes: str | int | None,
    ) -> OpenTelemetrySpan | None:
        """As the port says."""
        span = self._tracer.start_span(
            name,
            context=_context_of(parent),
            kind=_KINDS[kind],
            attributes=_named(attributes),
            start_time=began_ns,
        )
        return OpenTelemetrySpan(span) if span.is_recording() else None


class NotingExporter(SpanExporter):
    """Exports by another exporter, and notes in our log when an outage of the collector begins and ends."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._outages = Outages("the collector of traces")
        self._message = ""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """As the SDK says; called by its thread."""
        self._message = ""
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._outages.record_success()
        else:  # in words that differ from one failure to the next, of which the first says enough
            first = next(iter(self._outages.reasons), self._message)
            self._outages.record_failure(first or "spans could not be exported")
        return result

    def shutdown(self) -> None:
        """As the SDK says."""
        self._exporter.shutdown()

    @contextmanager
    def silencing_sdk(self) -> Iterator[None]:
        """Keep the SDK from logging each failure, and each span that it drops meanwhile."""
        exporter, processor = logging.getLogger(_EXPORTER_LOGGER), logging.getLogger(_PROCESSOR_LOGGER)
        exporter.addFilter(self._keep)
        processor.addFilter(_refuse)
        try:
            yield
        finally:
            exporter.removeFilter(self._keep)
            processor.removeFilter(_refuse)

    def _keep(self, record: logging.LogRecord) -> bool:
        """Keep what the exporter says first of a failure, for our record."""
        self._message = self._message or record.getMessage()
        return False


@asynccontextmanager
async def open_tracer(service: str, environment: Mapping[str, str], *, worker: int) -> AsyncIterator[None]:
    """Record the spans of this process while the context is open; afterwards export what is left, for 2 s.

    Raises:
        ConfigurationError: The SDK can't work with a variable of the environment.
    """
    try:
        provider = TracerProvider(
            resource=_resource(service, environment, worker=worker), shutdown_on_exit=False
        )
        exporter = NotingExporter(OTLPSpanExporter())
        provider.add_span_processor(BatchSpanProcessor(exporter))
    except (ValueError, OSError, RuntimeError) as error:
        raise ConfigurationError(f"traces can't be recorded as OTEL_... say: {error}") from error
    with exporter.silencing_sdk():
        try:
            with recording_with(OpenTelemetryTracer(provider.get_tracer("isoline", RELEASE))):
                yield
        finally:
            await _shut_down(provider)


async def _shut_down(provider: TracerProvider) -> None:
    """Export what is left, in a thread that ends with the process: the SDK may wait for 30 s."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def shut_down() -> None:
        provider.shutdown()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=shut_down, daemon=True).start()
    with suppress(TimeoutError):
        async with asyncio.timeout(_LAST_EXPORT_WITHIN_S):
            await done.wait()


def _resource(service: str, environment: Mapping[str, str], *, worker: int) -> Resource:
    """What the spans are of; names that the environment gives to the service go before ours."""
    ours = {
        "service.name": f"isoline-{service}",
        "service.version": RELEASE,
        "service.instance.id": f"{socket.gethostname()}/{worker}",
    }
    given = environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    named = {pair.partition("=")[0].strip() for pair in given.split(",")}
    if environment.get("OTEL_SERVICE_NAME"):
        named.add("service.name")
    return Resource.create({name: value for name, value in ours.items() if name not in named})


def _context_of(parent: str | None) -> Context:
    if parent is None or trace_id_of(parent) is None:
        return _NO_PARENT
    _, trace_id, span_id, flags = parent.split("-")
    context = SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
    )
    return set_span_in_context(NonRecordingSpan(context), _NO_PARENT)


def _named(attributes: Mapping[str, str | int | None]) -> dict[str, str | int]:
    return {name.replace("__", "."): value for name, value in attributes.items() if value is not None}


def _refuse(_: logging.LogRecord) -> bool:
    return False
