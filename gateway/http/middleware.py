"""The middleware of every request: id, trace, rate limit per address, routing, error response, log record."""

from __future__ import annotations

import time
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import hdrs
from multidict import istr

from gateway.http.client_address import ClientAddressResolver
from gateway.http.content_negotiation import negotiate
from gateway.http.problems import error_response
from shared.observability.logs import Logger, log_with
from shared.observability.loop_metrics import LoopHistogram
from shared.observability.metrics import DURATION_BUCKETS_S
from shared.observability.tracing import SpanKind, new_id, present_tracer, span_of, trace_id_of

if TYPE_CHECKING:
    import asyncio

    from gateway.http.request import Handler, Request
    from gateway.http.responses import Response
    from gateway.http.router import Router
    from shared.observability.loop_metrics import LoopDistribution
    from shared.observability.tracing import Span, Tracer

# Probed every few seconds by monitoring and load balancers.
_UNLIMITED_PREFIX: Final = "/health/"
# Looking up an `istr` in headers takes half the time of a `str`.
_NONE: Final = ()
_TRACEPARENT: Final = istr("traceparent")

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_DURATION: Final = LoopHistogram(
    "isoline_http_request_duration_seconds",
    "From the end of a request's head to its response.",
    ["route", "method", "status"],
    buckets=DURATION_BUCKETS_S,
)

_log = Logger(__name__)


class RequestLimiter(Protocol):
    """Limits how many requests a client sends."""

    async def check(self, request: Request, client: str) -> None:
        """Count a request of the client.

        Raises:
            ProblemError: 429, it sends too many.
        """


def with_middleware(
    router: Router, *, proxies: int, limiter: RequestLimiter, draining: asyncio.Event
) -> Handler:
    """The handler of every request: assigns an id and a trace, always responds, and writes one log record.

    One coroutine does it all, without an aiohttp application: a GET of a result takes some 40 us in all, and
    each layer would add 1 or 2.

    Args:
        router: Finds the handler of a route.
        proxies: How many trusted proxies a request passes.
        limiter: Limits the requests of an address; past the limit only health is answered.
        draining: Once set, every response closes its connection.
    """
    resolver = ClientAddressResolver(proxies)
    tracer = present_tracer()

    async def handle(request: Request) -> Response:
        started = time.perf_counter()
        request_id = new_id()
        forwarded_for = request.headers.getall(hdrs.X_FORWARDED_FOR, _NONE) if proxies else _NONE
        request.address = resolver.resolve(request.remote, forwarded_for)
        # A request without a trace starts one, under its own id.
        trace_id = trace_id_of(request.headers.get(_TRACEPARENT)) or request_id
        request.traceparent = span_of(trace_id, request_id)
        span = None
        if tracer is not None:
            span = _begin_span(tracer, request, trace_id, request_id)
            if span is not None and trace_id == request_id:
                request_id = trace_id = trace_id_of(span.traceparent) or trace_id
        log_with(request_id=request_id, trace_id=trace_id)
        method, is_probe = request.method, False
        try:
            path = request.rel_url.path_safe
            is_probe = path.startswith(_UNLIMITED_PREFIX)
            if not is_probe:
                await limiter.check(request, request.address)
            handler, request.route, request.parameters = router.find(method, path)
            response = await handler(request)
        except Exception as error:  # noqa: BLE001 - the client gets a response in any case
            response = error_response(error)
        finally:
            request.release_memory()
        response = _finalized(request, request_id, response)
        if draining.is_set():
            response.force_close()
        duration_s = int(1e6 * (time.perf_counter() - started)) / 1e6
        known_method = method if method in _METHODS else "other"
        _durations_of(request.route, known_method, response.status).observe(duration_s)
        # Health has records of its own when it changes.
        record = _log.debug if is_probe else _log.info
        record(
            "request",
            method=method,
            route=request.route,
            status=response.status,
            duration_s=duration_s,
            **request.log_fields,
        )
        if span is not None:
            _end_span(span, request, known_method, response.status, request_id)
        return response

    return handle


def _begin_span(tracer: Tracer, request: Request, trace_id: str, request_id: str) -> Span | None:
    """Begin the span of a request, which its rows and events continue; None if it is not sampled.

    Nobody looks for the trace of a probe.
    """
    span = None
    if not request.rel_url.raw_path.startswith(_UNLIMITED_PREFIX):
        parent = None if trace_id == request_id else request.headers.get(_TRACEPARENT)
        span = tracer.begin(request.method, SpanKind.SERVER, parent=parent)
    if span is None:
        request.traceparent = span_of(trace_id, request_id, flags="00")
    else:
        request.traceparent = span.traceparent
    return span


def _end_span(span: Span, request: Request, method: str, status: int, request_id: str) -> None:
    span.end(
        name=method if request.route is None else f"{method} {request.route}",
        failure="" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None,
        http__request__method=method,
        http__route=request.route,
        http__response__status_code=status,
        isoline__request_id=request_id,
        isoline__ecg=request.log_fields.get("ecg"),
    )


def _finalized(request: Request, request_id: str, response: Response) -> Response:
    """The negotiated response, with the headers that every response has."""
    response = negotiate(request, response)
    response.add_header("X-Request-Id", request_id)
    if request.rate_limit_policies:
        response.add_header("RateLimit-Policy", request.rate_limit_policies)
        response.add_header("RateLimit", request.rate_limits_left)
    return response


@cache  # to find them by their labels takes longer than to observe
def _durations_of(route: str | None, method: str, status: int) -> LoopDistribution:
    return _DURATION.labels(route or "none", method, str(status))
