"""What is known of every request: who sends it, from where, which trace it belongs to, how it ended."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import structlog
from aiohttp import web

from gateway.addresses import caller_address
from gateway.in_flight import SHARE
from gateway.problems import ProblemError
from gateway.rate_limits import Policy, Quota, rate_limit_headers
from gateway.tokens import Caller, InvalidTokenError
from shared.domain.errors import DeniedError
from shared.telemetry import continued_traceparent

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

    from gateway.callers import Callers
    from gateway.rate_limits import RateLimits
    from shared.domain.account import Role


@dataclass(slots=True)
class _Origin:
    """Where a request comes from, and what of its limits is to be told."""

    address: str
    quotas: list[Quota] = field(default_factory=list)


_CALLER: Final = web.RequestKey("caller", Caller)
_ORIGIN: Final = web.RequestKey("origin", _Origin)
_TRACEPARENT: Final = web.RequestKey("traceparent", str)
# Asked every few seconds by whatever watches over the gateway.
_UNLIMITED: Final = "/health/"

_log = structlog.get_logger(__name__)


def caller_of(request: web.Request) -> Caller:
    """Who sends this request to a route that asks for a role."""
    return request[_CALLER]


def address_of(request: web.Request) -> str:
    """Where this request comes from."""
    return request[_ORIGIN].address


def traceparent_of(request: web.Request) -> str:
    """The trace context under which this request's work goes on."""
    return request[_TRACEPARENT]


def for_roles(roles: frozenset[Role], handler: Handler, *, callers: Callers, limits: RateLimits) -> Handler:
    """The handler, reached only with a token that proves one of the roles, and not too often.

    Raises:
        ProblemError: 401 without a valid token, 403 without the role, 429 past the caller's limit.
    """

    async def guarded(request: web.Request) -> web.StreamResponse:
        caller = await _proven_caller(request, callers)
        await _spend(request, limits, Policy.CALLER, caller.name)
        if not roles & caller.roles:
            raise DeniedError(
                f"This needs the role {' or '.join(sorted(roles))}; "
                f"your token has {', '.join(sorted(caller.roles)) or 'none that is known here'}."
            )
        request[_CALLER] = caller
        request[SHARE].holder = caller.name
        return await handler(request)

    return guarded


def for_passwords(handler: Handler, *, limits: RateLimits) -> Handler:
    """The handler, reached from an address only as often as somebody may log in.

    Raises:
        ProblemError: 429 past the limit.
    """

    async def limited(request: web.Request) -> web.StreamResponse:
        await _spend(request, limits, Policy.LOGIN, address_of(request))
        return await handler(request)

    return limited


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


def origin_middleware(*, proxies: int) -> Middleware:
    """Tell where each request comes from, and tell its sender how much of the limits is left."""

    @web.middleware
    async def with_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
        forwarded_for = request.headers.getall("X-Forwarded-For", []) if proxies else []
        address = caller_address(request.remote, forwarded_for, proxies=proxies)
        origin = request[_ORIGIN] = _Origin(address)
        response = await handler(request)
        response.headers.update(rate_limit_headers(origin.quotas))
        return response

    return with_origin


def address_limit_middleware(limits: RateLimits) -> Middleware:
    """Refuse what one address asks past its limit, before anything else is looked at."""

    @web.middleware
    async def limited(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith(_UNLIMITED):
            await _spend(request, limits, Policy.ADDRESS, address_of(request))
        return await handler(request)

    return limited


async def _spend(request: web.Request, limits: RateLimits, policy: Policy, whose: str) -> None:
    quota = await limits.spend(policy, whose)
    if quota is None:
        return
    request[_ORIGIN].quotas.append(quota)
    if quota.is_exceeded:
        detail = f"More than {quota.limit} requests in a minute; wait {quota.resets_in_s} s."
        headers = {"Retry-After": str(quota.resets_in_s)}
        raise ProblemError(HTTPStatus.TOO_MANY_REQUESTS, detail, headers=headers)


async def _proven_caller(request: web.Request, callers: Callers) -> Caller:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise unauthorized(
            "This needs a token: send Authorization: Bearer and the access_token of POST /token."
        )
    try:
        return await callers.caller(token.strip())
    except InvalidTokenError:
        raise unauthorized("The token is not valid, or no longer: get a new one from POST /token.") from None


def unauthorized(detail: str) -> ProblemError:
    """The 401 that tells what to send (RFC 9110, section 15.5.2)."""
    return ProblemError(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": "Bearer"})
