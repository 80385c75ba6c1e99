"""Spans are recorded by OpenTelemetry's SDK if its variables say so, and never at a request's cost."""

from __future__ import annotations

import asyncio
import builtins
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import pytest
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from shared.domain.errors import ConfigurationError
from shared.observability.tracing import SpanKind, now_ns, present_tracer, record_spans
from shared.opentelemetry import tracer as tracer_module
from shared.opentelemetry.switch import is_switched_on, open_traces
from tests.support.logs import capture_logs
from tests.support.servers.otlp import open_collector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from shared.observability.tracing import Tracer
    from tests.support.servers.otlp import Collector

_WITHIN_S: Final = 20.0
_IMPORT_WITHIN_S: Final = 120.0
_PARENT: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_UNSAMPLED: Final = _PARENT[:-2] + "00"


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """A collector that the environment names."""
    async with open_collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield collector


def the_tracer() -> Tracer:
    tracer = present_tracer()
    assert tracer is not None
    return tracer


class TestSwitch:
    @pytest.mark.parametrize(
        ("environment", "is_on"),
        [
            ({}, False),
            ({"OTEL_SERVICE_NAME": "x", "OTEL_TRACES_SAMPLER": "always_on"}, False),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
            ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
            ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
            ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
            ({"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, False),
            ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
            ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
        ],
    )
    def test_an_endpoint_or_the_exporter_switches_it_on(
        self, environment: dict[str, str], *, is_on: bool
    ) -> None:
        assert is_switched_on(environment) is is_on

    @pytest.mark.parametrize(
        ("environment", "message"),
        [
            ({"OTEL_TRACES_EXPORTER": "zipkin"}, "by otlp, or by none"),
            ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "only http/protobuf"),
        ],
    )
    def test_what_we_can_not_do_is_one_sentence(self, environment: dict[str, str], message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            is_switched_on(environment)

    async def test_what_the_sdk_can_not_do_is_one_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
        with pytest.raises(ConfigurationError, match="say: max_queue_size must be"):
            async with open_traces("gateway", {"OTEL_TRACES_EXPORTER": "otlp"}):
                pass

    async def test_a_missing_extra_is_one_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import_ = builtins.__import__

        def without_the_sdk(name: str, *arguments: Any, **options: Any) -> Any:
            if name == "shared.opentelemetry.tracer":
                raise ModuleNotFoundError(name="opentelemetry")
            return import_(name, *arguments, **options)

        monkeypatch.setattr(builtins, "__import__", without_the_sdk)
        with pytest.raises(
            ConfigurationError, match="opentelemetry is not installed: install Isoline's extra"
        ):
            async with open_traces("gateway", {"OTEL_TRACES_EXPORTER": "otlp"}):
                pass

    def test_nothing_of_it_is_imported_while_it_is_off(self) -> None:
        script = (
            "import sys, gateway.__main__, processor.__main__; "
            "sys.exit([name for name in sys.modules if name.startswith('opentelemetry')] != [])"
        )
        subprocess.run([sys.executable, "-c", script], check=True, timeout=_IMPORT_WITHIN_S)  # noqa: S603

    async def test_nothing_is_recorded_while_it_is_off(self) -> None:
        async with open_traces("gateway", {}):
            assert present_tracer() is None
            record_spans("commit", [_PARENT], began_ns=now_ns())


class TestSpans:
    async def test_they_are_children_of_what_they_were_done_for(self, collector: Collector) -> None:
        async with (
            asyncio.timeout(_WITHIN_S),
            open_traces("gateway", {"OTEL_TRACES_EXPORTER": "otlp"}, worker=2),
        ):
            span = the_tracer().begin("POST", SpanKind.SERVER, parent=_PARENT)
            assert span is not None
            record_spans(
                "commit",
                [span.traceparent, _UNSAMPLED, None],
                began_ns=7,
                failure="why",
                isoline__batch__ecgs=3,
                isoline__published_by=None,
            )
            span.end(name="POST /ecg/process", http__route="/ecg/process")
            span.end(failure="twice")
            [child, request] = await collector.until(lambda spans: len(spans) >= 2)

        assert request.name == "POST /ecg/process"
        assert f"00-{request.trace_id}-{request.parent_id}-01" == _PARENT
        assert (request.failure, request.attributes) == (None, {"http.route": "/ecg/process"})
        assert (child.trace_id, child.parent_id) == (request.trace_id, request.span_id)
        assert (child.began_ns, child.failure) == (7, "why")
        assert child.attributes == {"isoline.batch.ecgs": 3}
        assert child.service == "isoline-gateway"

    @pytest.mark.parametrize(
        ("sampler", "parent", "is_sampled"),
        [
            ("", _PARENT, True),
            ("", _UNSAMPLED, False),
            ("", None, True),
            ("parentbased_always_off", None, False),
            ("parentbased_always_off", _PARENT, True),
            ("always_off", _PARENT, False),
        ],
    )
    @pytest.mark.usefixtures("collector")
    async def test_the_senders_flag_and_the_sampler_decide(
        self, monkeypatch: pytest.MonkeyPatch, sampler: str, parent: str | None, *, is_sampled: bool
    ) -> None:
        if sampler:
            monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
        async with open_traces("gateway", {"OTEL_TRACES_EXPORTER": "otlp"}):
            span = the_tracer().begin("POST", SpanKind.SERVER, parent=parent)

        assert (span is not None) is is_sampled

    async def test_names_of_the_environment_go_before_ours(
        self, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_SERVICE_NAME", "ward-7")
        environment = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SERVICE_NAME": "ward-7"}
        async with asyncio.timeout(_WITHIN_S), open_traces("gateway", environment):
            record_spans("commit", [_PARENT], began_ns=7)
            [span] = await collector.until(bool)

        assert span.service == "ward-7"

    async def test_what_was_recorded_last_is_exported_when_it_ends(
        self, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
        async with open_traces("gateway", {"OTEL_TRACES_EXPORTER": "otlp"}):
            record_spans("commit", [_PARENT], began_ns=7)

        assert len(collector.spans) == 1


class TestOutages:
    async def test_a_collector_that_refuses_is_told_once(self, collector: Collector) -> None:
        collector.status = 400
        with capture_logs() as records:
            async with (
                asyncio.timeout(_WITHIN_S),
                open_traces("gateway", {"OTEL_TRACES_EXPORTER": "otlp"}),
            ):
                for times in range(1, 4):
                    record_spans("commit", [_PARENT], began_ns=7)
                    await collector.until_asked(times)

        [record] = records
        assert (record["message"], record["what"]) == ("not available", "the collector of traces")
        assert "400" in record["reason"]

    async def test_one_that_never_answers_holds_up_neither_who_records_nor_the_end(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        exporter = StuckExporter()
        monkeypatch.setattr(tracer_module, "OTLPSpanExporter", lambda: exporter)
        monkeypatch.setattr(tracer_module, "_LAST_EXPORT_WITHIN_S", 0.1)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
        with capture_logs() as records:
            async with (
                asyncio.timeout(_WITHIN_S),
                open_traces("gateway", {"OTEL_TRACES_EXPORTER": "otlp"}),
            ):
                for _ in range(1000):  # far more than the queue takes
                    record_spans("commit", [_PARENT], began_ns=7)
        exporter.answered.set()

        assert records == []


class StuckExporter(SpanExporter):
    """Exports nothing until it is answered."""

    def __init__(self) -> None:
        self.answered = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002 - the SDK gives it
        self.answered.wait()
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing is open."""
