"""The middleware of every request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.http.middleware import with_middleware
from gateway.http.responses import Head, Response
from gateway.http.router import Router
from gateway.limits.counters import MemoryCounters
from gateway.limits.rate_limiter import Policy, RateLimiter
from tests.unit.gateway.http.test_connection import a_connection, a_transport

if TYPE_CHECKING:
    from gateway.http.request import Request

_LIMIT_S = 20


async def test_a_request_is_one_span_however_often_its_traceparent_is_read() -> None:
    read: list[tuple[str, str]] = []
    both = asyncio.Event()

    async def handler(request: Request) -> Response:
        read.append((request.traceparent, request.traceparent))
        if len(read) == 2:
            both.set()
        return Response(Head())

    router = Router()
    router.add("GET", "/", handler)
    limiter = RateLimiter(Policy.ADDRESS, 0, MemoryCounters())
    served = with_middleware(router, proxies=0, limiter=limiter, draining=asyncio.Event())
    connection = a_connection(served, a_transport())
    connection.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
    async with asyncio.timeout(_LIMIT_S):
        await both.wait()
    connection.connection_lost(None)

    [first, second] = read
    assert first[0] == first[1] != second[0] == second[1]
