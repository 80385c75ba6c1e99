"""Guards: checks that a request must pass before the handler of its route is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs

from gateway.auth.access_tokens import InvalidTokenError
from gateway.auth.refused_tokens import RefusedTokenLog
from gateway.http.problems import unauthorized
from gateway.limits.rate_limiter import Policy, RateLimiter
from shared.domain.api_key import looks_like_secret
from shared.domain.errors import DeniedError

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.auth.authenticator import Authenticator
    from gateway.contract.route import Route
    from gateway.http.caller import Caller
    from gateway.http.memory.body_memory import BodyMemoryBudget
    from gateway.http.problems import ProblemError
    from gateway.http.request import Handler, Request
    from gateway.http.responses import Response
    from gateway.limits.counters import CounterStore
    from shared.domain.account import Role


class Guards:
    """Wraps handlers with the guards that their routes require: role, rate limit, memory budget.

    Args:
        authenticator: Authenticates callers.
        counter_store: Counts requests.
        rate_per_caller: Requests per minute and caller; 0 is no limit.
        rate_of_logins: Logins per minute and address; 0 is no limit.
        budget: For the memory of bodies.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        counter_store: CounterStore,
        *,
        rate_per_caller: int,
        rate_of_logins: int,
        budget: BodyMemoryBudget,
    ) -> None:
        self._authenticator = authenticator
        self._refused_tokens = RefusedTokenLog()
        self._caller_limiter = RateLimiter(Policy.CALLER, rate_per_caller, counter_store.counters())
        self._login_limiter = RateLimiter(Policy.LOGIN, rate_of_logins, counter_store.counters())
        self._budget = budget

    def guard(self, route: Route, handler: Handler) -> Handler:
        """The handler of a route with its guards."""
        if route.request is not None:
            handler = _with_memory_budget(handler, budget=self._budget)
        if route.roles:
            if not route.takes_api_keys:
                handler = _refuse_api_keys(handler)
            return _require_role(
                route.roles,
                handler,
                authenticator=self._authenticator,
                refused_tokens=self._refused_tokens,
                limiter=self._caller_limiter,
            )
        if route.takes_password:
            return _limit_logins(handler, limiter=self._login_limiter)
        return handler


def _require_role(
    roles: frozenset[Role],
    handler: Handler,
    *,
    authenticator: Authenticator,
    refused_tokens: RefusedTokenLog,
    limiter: RateLimiter,
) -> Handler:
    """The handler, with a guard that requires one of the roles and limits the caller's rate.

    Raises:
        ProblemError: 401 without a valid token or API key, 403 without the role, 429 past the caller's limit.
    """

    async def guard(request: Request) -> Response:
        try:
            caller = request.caller = await authenticator.authenticate(_token(request))
        except InvalidTokenError as error:
            raise refusal(request, error) from None
        await limiter.check(request, caller.name)
        _check_role(caller, roles)
        request.authorize = authorize
        return await handler(request)

    async def authorize(request: Request) -> None:
        try:
            caller = await authenticator.authenticate(_token(request))
        except InvalidTokenError as error:
            raise refusal(request, error) from None
        _check_role(caller, roles)
        # An API key outlives a change of its account's roles, for which this response was begun.
        if caller.roles != request.caller.roles:
            raise DeniedError("The roles of your API key have changed since this began: begin anew.")

    def refusal(request: Request, error: InvalidTokenError) -> ProblemError:
        refused_tokens.add(error)
        if looks_like_secret(_token(request)):
            return unauthorized("The API key is not valid, or no longer: get a new one from POST /key.")
        return unauthorized("The token is not valid, or no longer: get a new one from POST /token.")

    return guard


def _check_role(caller: Caller, roles: frozenset[Role]) -> None:
    if not roles & caller.roles:
        proof = "token" if caller.key_id is None else "API key"
        raise DeniedError(
            f"This needs the role {' or '.join(sorted(roles))}; "
            f"your {proof} has {', '.join(sorted(caller.roles)) or 'none that is known here'}."
        )


def _refuse_api_keys(handler: Handler) -> Handler:
    """The handler, with a guard that refuses callers with an API key.

    Raises:
        DeniedError: The caller has one.
    """

    async def with_token_only(request: Request) -> Response:
        if request.caller.key_id is not None:
            raise DeniedError("An API key can't do this: log in, and send the access_token of POST /token.")
        return await handler(request)

    return with_token_only


def _limit_logins(handler: Handler, *, limiter: RateLimiter) -> Handler:
    """The handler, with a guard that limits logins per address.

    Raises:
        ProblemError: 429 past the limit.
    """

    async def limited(request: Request) -> Response:
        await limiter.check(request, request.address)
        return await handler(request)

    return limited


def _with_memory_budget(handler: Handler, *, budget: BodyMemoryBudget) -> Handler:
    """The handler, whose requests' bodies take memory of this budget."""

    def with_budget(request: Request) -> Awaitable[Response]:
        request.use_memory_budget(budget)
        return handler(request)

    return with_budget


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise unauthorized(
            "This needs a token: send Authorization: Bearer and the access_token of POST /token."
        )
    return token.strip()
