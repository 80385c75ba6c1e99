"""Record traces if the standard variables of OpenTelemetry say so; the SDK is imported only then."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from shared.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

_EXPORTER: Final = "OTEL_TRACES_EXPORTER"
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def is_switched_on(environment: Mapping[str, str]) -> bool:
    """Whether traces are to be recorded: an endpoint is named, or the exporter, and neither is switched off.

    Raises:
        ConfigurationError: They are to be exported in a way that we don't know.
    """
    exporter = environment.get(_EXPORTER, "").strip().lower()
    is_disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if is_disabled or exporter == "none":
        return False
    if exporter not in {"", "otlp"}:
        raise ConfigurationError(f"{_EXPORTER} is {exporter}: traces are exported by otlp, or by none")
    if not exporter and not any(environment.get(endpoint) for endpoint in _ENDPOINTS):
        return False
    protocol = next((environment[name] for name in _PROTOCOLS if environment.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        raise ConfigurationError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol}: only http/protobuf is spoken")
    return True


@asynccontextmanager
async def open_traces(
    service: str, environment: Mapping[str, str], *, worker: int = 1
) -> AsyncIterator[None]:
    """Record the spans of this process while the context is open, if that is switched on.

    Raises:
        ConfigurationError: It is, and the extra `otel` is not installed, or a variable is wrong.
    """
    if not is_switched_on(environment):
        yield
        return
    try:
        from shared.opentelemetry.tracer import open_tracer  # noqa: PLC0415 - it imports the SDK
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"OTEL_... switch traces on, and {error.name} is not installed: install Isoline's extra `otel`"
        ) from error
    async with open_tracer(service, environment, worker=worker):
        yield
