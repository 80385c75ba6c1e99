"""Guards: what a request must show before the handler of a route is reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs

from gateway.auth.access_tokens import InvalidTokenError
from gateway.auth.refused_tokens import RefusalLog
from gateway.http.problems import unauthorized
from gateway.limits.rate_limiter import Policy, RateLimiter
from shared.domain.errors import DeniedError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.auth.authenticator import Callers
    from gateway.contract.route import Route
    from gateway.http.bodies.body_memory import MemoryBudget
    from gateway.http.request import Handler, Request
    from gateway.http.responses import Response
    from gateway.limits.counters import CounterStore
    from shared.domain.account import Role


class Guards:
    """Puts before each handler what its route asks for: a role, a rate limit, memory for the body.

    Args:
        callers: Authenticates the senders of requests.
        counter_store: Where requests are counted.
        rate_per_caller: How many requests a minute each caller may send; 0 is no limit.
        rate_of_logins: How many logins a minute each address may try; 0 is no limit.
        budget: The memory that bodies take.
    """

    def __init__(
        self,
        callers: Callers,
        counter_store: CounterStore,
        *,
        rate_per_caller: int,
        rate_of_logins: int,
        budget: MemoryBudget,
    ) -> None:
        self._callers = callers
        self._refusals = RefusalLog()
        self._caller_limiter = RateLimiter(Policy.CALLER, rate_per_caller, counter_store.counters())
        self._login_limiter = RateLimiter(Policy.LOGIN, rate_of_logins, counter_store.counters())
        self._budget = budget

    def guarded(self, route: Route, handler: Handler) -> Handler:
        """The handler of a route behind its guards."""
        if route.request is not None:
            handler = _for_bodies(handler, budget=self._budget)
        if route.roles:
            return _for_roles(
                route.roles,
                handler,
                callers=self._callers,
                refusals=self._refusals,
                limiter=self._caller_limiter,
            )
        if route.takes_password:
            return _for_passwords(handler, limiter=self._login_limiter)
        return handler


def _for_roles(
    roles: frozenset[Role], handler: Handler, *, callers: Callers, refusals: RefusalLog, limiter: RateLimiter
) -> Handler:
    """The handler, reached only with a token that proves one of the roles, and not too often.

    Raises:
        ProblemError: 401 without a valid token, 403 without the role, 429 past the caller's limit.
    """

    async def guarded(request: Request) -> Response:
        try:
            caller = await callers.caller(_token(request))
        except InvalidTokenError as refused:
            refusals.add(refused)
            detail = "The token is not valid, or no longer: get a new one from POST /token."
            raise unauthorized(detail) from None
        request.caller = caller
        await limiter.check(request, caller.name)
        if not roles & caller.roles:
            raise DeniedError(
                f"This needs the role {' or '.join(sorted(roles))}; "
                f"your token has {', '.join(sorted(caller.roles)) or 'none that is known here'}."
            )
        return await handler(request)

    return guarded


def _for_passwords(handler: Handler, *, limiter: RateLimiter) -> Handler:
    """The handler, reached from an address only as often as somebody may log in.

    Raises:
        ProblemError: 429 past the limit.
    """

    async def limited(request: Request) -> Response:
        await limiter.check(request, request.address)
        return await handler(request)

    return limited


def _for_bodies(handler: Handler, *, budget: MemoryBudget) -> Handler:
    """The handler, whose requests have bodies that take memory of this budget."""

    def taking(request: Request) -> Awaitable[Response]:
        request.use_memory_budget(budget)
        return handler(request)

    return taking


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise unauthorized(
            "This needs a token: send Authorization: Bearer and the access_token of POST /token."
        )
    return token.strip()
