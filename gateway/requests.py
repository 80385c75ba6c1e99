"""What is known of every request: who sends it, which trace it belongs to, how it ended."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import structlog
from aiohttp import web

from gateway.problems import ProblemError
from gateway.tokens import Caller, InvalidTokenError
from shared.domain.errors import DeniedError
from shared.telemetry import continued_traceparent

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

    from gateway.tokens import Tokens
    from shared.domain.account import Role

_CALLER: Final = web.RequestKey("caller", Caller)
_TRACEPARENT: Final = web.RequestKey("traceparent", str)

_log = structlog.get_logger(__name__)


def caller_of(request: web.Request) -> Caller:
    """Who sends this request to a route that asks for a role."""
    return request[_CALLER]


def traceparent_of(request: web.Request) -> str:
    """The trace context under which this request's work goes on."""
    return request[_TRACEPARENT]


def for_roles(roles: frozenset[Role], handler: Handler, *, tokens: Tokens) -> Handler:
    """The handler, reached only with a token that proves one of the roles.

    Raises:
        ProblemError: 401 without a valid token, 403 without the role.
    """

    async def guarded(request: web.Request) -> web.StreamResponse:
        caller = _proven_caller(request, tokens)
        if not roles & caller.roles:
            raise DeniedError(
                f"This needs the role {' or '.join(sorted(roles))}; "
                f"your token has {', '.join(sorted(caller.roles))}."
            )
        request[_CALLER] = caller
        return await handler(request)

    return guarded


@web.middleware
async def record_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give each request an id and a trace, and write one log record when it ends."""
    started = time.perf_counter()
    request_id = uuid4().hex
    request[_TRACEPARENT] = continued_traceparent(request.headers.get("traceparent"))
    structlog.contextvars.bind_contextvars(
        request_id=request_id, trace_id=request[_TRACEPARENT].split("-")[1]
    )
    response = await handler(request)
    response.headers["X-Request-Id"] = request_id
    route = request.match_info.route.resource
    _log.info(
        "request",
        method=request.method,
        route=route.canonical if route else None,
        status=response.status,
        duration_s=round(time.perf_counter() - started, 6),
    )
    return response


def _proven_caller(request: web.Request, tokens: Tokens) -> Caller:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise _unauthorized(
            "This needs a token: send Authorization: Bearer and the access_token of POST /token."
        )
    try:
        return tokens.caller(token.strip())
    except InvalidTokenError:
        raise _unauthorized("The token is not valid, or no longer: get a new one from POST /token.") from None


def _unauthorized(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"})
