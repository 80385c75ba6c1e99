"""CORS: pages of which origins may call, what they may send and what of a response they may read.

Without origins none of this runs. The protocol is in the Fetch standard: https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

from gateway.http.problems import ProblemError
from gateway.http.responses import Head, Response

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gateway.http.request import Handler, Request

# What clients of this API send, beside what any page may send (such as Accept).
_REQUEST_HEADERS: Final = (
    "Authorization, Content-Encoding, Content-Type, If-None-Match, Last-Event-ID, traceparent, tracestate"
)
# What they read, beside what any page may read (such as Content-Type).
_RESPONSE_HEADERS: Final = (
    "ETag, Location, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, X-Request-Id"
)
# The most that Chromium takes. Where an origin is removed, responses lack its header at once.
_MAX_AGE_S: Final = 2 * 3600
_LOGGED_CHARACTERS: Final = 128


class CorsPolicy:
    """Lets pages of some origins call: answers their preflights, and lets them read the responses.

    Cookies play no part: a page sends a token, as any client does, so no response allows credentials.

    Args:
        origins: As browsers send them in ``Origin``.
        methods: The methods of all routes.
    """

    def __init__(self, origins: Collection[str], methods: Iterable[str]) -> None:
        self._origins = frozenset(origins)
        self._preflight = Head(
            HTTPStatus.NO_CONTENT,
            {
                hdrs.ACCESS_CONTROL_ALLOW_METHODS: ", ".join(sorted({*methods, hdrs.METH_HEAD})),
                hdrs.ACCESS_CONTROL_ALLOW_HEADERS: _REQUEST_HEADERS,
                hdrs.ACCESS_CONTROL_MAX_AGE: str(_MAX_AGE_S),
            },
        )

    async def answer_preflight(self, request: Request) -> Response:
        """The response to ``OPTIONS``: which methods and headers pages may send.

        Raises:
            ProblemError: 400, it is no preflight; 403, pages of this origin may not call.
        """
        if hdrs.ORIGIN not in request.headers or hdrs.ACCESS_CONTROL_REQUEST_METHOD not in request.headers:
            detail = (
                "OPTIONS is for preflights of browsers: expected Origin and Access-Control-Request-Method."
            )
            raise ProblemError(HTTPStatus.BAD_REQUEST, detail)
        if self._allowed_origin(request) is None:
            request.log_fields = {"origin": request.headers[hdrs.ORIGIN][:_LOGGED_CHARACTERS]}
            detail = (
                "Pages of this origin may not call; ISOLINE_CORS_ORIGINS of the gateway names those that may."
            )
            raise ProblemError(HTTPStatus.FORBIDDEN, detail)
        return Response(self._preflight)

    def add_headers(self, request: Request, response: Response) -> None:
        """Let the page that sent the request read the response, if pages of its origin may call."""
        response.add_header(hdrs.VARY, hdrs.ORIGIN)  # without an Origin too: a cache may have other requests
        if (origin := self._allowed_origin(request)) is not None:
            response.add_header(hdrs.ACCESS_CONTROL_ALLOW_ORIGIN, origin)
            response.add_header(hdrs.ACCESS_CONTROL_EXPOSE_HEADERS, _RESPONSE_HEADERS)

    def with_headers(self, handler: Handler) -> Handler:
        """The handler, whose responses have the headers of this policy."""

        async def handle(request: Request) -> Response:
            response = await handler(request)
            self.add_headers(request, response)
            return response

        return handle

    def _allowed_origin(self, request: Request) -> str | None:
        """The origin of the request, if it has one that is allowed."""
        sent = request.headers.getall(hdrs.ORIGIN, [])
        return sent[0] if len(sent) == 1 and sent[0] in self._origins else None
