"""What is known of a request on its way: who sends it, from where, which trace it belongs to."""

from __future__ import annotations

import math
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web

from gateway.in_flight import SHARE, Share
from gateway.problems import ProblemError
from gateway.tokens import InvalidTokenError
from shared.domain.errors import DeniedError
from shared.telemetry import span_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.typedefs import Handler

    from gateway.callers import Callers
    from gateway.in_flight import InFlight
    from gateway.rate_limits import RateLimit
    from gateway.tokens import Caller
    from shared.domain.account import Role


_NONE: Final[Mapping[str, str]] = {}


class Visit:
    """A request and all that becomes known of it.

    Attributes:
        address: Where it comes from, as far as that can be believed.
        trace_id: The trace in which its work goes on.
        path: Its path in the contract's words, once that is found.
        parameters: What stands in the place of the names in that path.
        caller: Who sends it, once that is proven.
        policies: The limits that it was counted against, and
        left: what is left of them, as draft-ietf-httpapi-ratelimit-headers-10 writes both.
    """

    __slots__ = ("address", "caller", "left", "parameters", "path", "policies", "trace_id")

    def __init__(self, address: str, trace_id: str) -> None:
        self.address: Final = address
        self.trace_id: Final = trace_id
        self.path: str | None = None
        self.parameters: Mapping[str, str] = _NONE
        self.caller: Caller | None = None
        self.policies = self.left = ""

    async def spend(self, limit: RateLimit, whose: str) -> None:
        """Count the request against a limit.

        Raises:
            ProblemError: 429, it is past the limit.
        """
        if not limit.per_minute:
            return
        counter = await limit.count(whose)
        count = counter.value
        resets_in_s = math.ceil(counter.expires_at - time.monotonic()) or 1
        separator = ", " if self.policies else ""
        self.policies += separator + limit.policy
        remaining = limit.per_minute - count if count < limit.per_minute else 0
        self.left += f"{separator}{limit.name};r={remaining};t={resets_in_s}"
        if count > limit.per_minute:
            detail = f"More than {limit.per_minute} requests in a minute; wait {resets_in_s} s."
            headers = {"Retry-After": str(resets_in_s)}
            raise ProblemError(HTTPStatus.TOO_MANY_REQUESTS, detail, headers=headers)


VISIT: Final = web.RequestKey("visit", Visit)


def caller_of(request: web.Request) -> Caller:
    """Who sends this request to a route that asks for a role."""
    caller = request[VISIT].caller
    if caller is None:
        raise LookupError("the route asks nobody who they are")
    return caller


def parameter_of(request: web.Request, name: str) -> str:
    """What stands in the place of a name in the route's path."""
    return request[VISIT].parameters[name]


def address_of(request: web.Request) -> str:
    """Where this request comes from."""
    return request[VISIT].address


def traceparent_of(request: web.Request) -> str:
    """The trace context under which this request's work goes on, in a span of its own."""
    return span_of(request[VISIT].trace_id)


def for_roles(roles: frozenset[Role], handler: Handler, *, callers: Callers, limit: RateLimit) -> Handler:
    """The handler, reached only with a token that proves one of the roles, and not too often.

    Raises:
        ProblemError: 401 without a valid token, 403 without the role, 429 past the caller's limit.
    """

    async def guarded(request: web.Request) -> web.StreamResponse:
        visit = request[VISIT]
        visit.caller = caller = await _proven_caller(request, callers)
        await visit.spend(limit, caller.name)
        if not roles & caller.roles:
            raise DeniedError(
                f"This needs the role {' or '.join(sorted(roles))}; "
                f"your token has {', '.join(sorted(caller.roles)) or 'none that is known here'}."
            )
        return await handler(request)

    return guarded


def for_passwords(handler: Handler, *, limit: RateLimit) -> Handler:
    """The handler, reached from an address only as often as somebody may log in.

    Raises:
        ProblemError: 429 past the limit.
    """

    async def limited(request: web.Request) -> web.StreamResponse:
        visit = request[VISIT]
        await visit.spend(limit, visit.address)
        return await handler(request)

    return limited


def for_bodies(handler: Handler, *, in_flight: InFlight) -> Handler:
    """The handler, which may hold bytes in flight, in the caller's name, until it ends however it ends."""

    async def holding(request: web.Request) -> web.StreamResponse:
        caller = request[VISIT].caller
        share = request[SHARE] = Share(in_flight, caller.name if caller else "")
        try:
            return await handler(request)
        finally:
            share.release()

    return holding


async def _proven_caller(request: web.Request, callers: Callers) -> Caller:
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
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
