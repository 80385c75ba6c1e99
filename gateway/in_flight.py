"""What bodies may cost while they are in hand: bytes, time to arrive, and turns at work on large ones."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.problems import ProblemError

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

_RETRY_AFTER_S: Final = 1
# What a large body becomes in parsing is many times as large as the body.
_LARGE_AT_A_TIME: Final = 2


class Share:
    """What one request holds of the bytes in flight, until it ends.

    Attributes:
        read_timeout_s: How long its body may take to arrive, beside what its size allows for.
        turn: To be held while a large body is unpacked or parsed.
    """

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self._held = 0
        self.read_timeout_s: Final = in_flight.read_timeout_s
        self.turn: Final = in_flight.turn

    def take(self, count: int) -> None:
        """Hold so many bytes more.

        Raises:
            ProblemError: 503, too many are held in all.
        """
        self._in_flight.take(count)
        self._held += count

    def release(self) -> None:
        """Hold none."""
        self._in_flight.release(self._held)
        self._held = 0


class InFlight:
    """What all requests share, and how much of it is held."""

    def __init__(self, *, max_bytes: int, read_timeout_s: float) -> None:
        self._max_bytes = max_bytes
        self._held = 0
        self.read_timeout_s: Final = read_timeout_s
        self.turn: Final = asyncio.Semaphore(_LARGE_AT_A_TIME)

    def take(self, count: int) -> None:
        """Hold so many bytes more; for `Share` alone."""
        if self._held + count > self._max_bytes:
            detail = "The gateway has its hands full of other requests. Send the same request again."
            # What is still on its way would be taken for the next request.
            headers = {"Retry-After": str(_RETRY_AFTER_S), "Connection": "close"}
            raise ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers)
        self._held += count

    def release(self, count: int) -> None:
        """Hold so many bytes less; for `Share` alone."""
        self._held -= count


SHARE: Final = web.RequestKey("share", Share)


def in_flight_middleware(in_flight: InFlight) -> Middleware:
    """Give each request its share and take it back, however the request ends."""

    @web.middleware
    async def with_share(request: web.Request, handler: Handler) -> web.StreamResponse:
        share = request[SHARE] = Share(in_flight)
        try:
            return await handler(request)
        finally:
            share.release()

    return with_share
