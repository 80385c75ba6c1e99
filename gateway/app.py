"""The gateway as an HTTP service: its route table, and a server that answers it."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

from gateway.account_handlers import AccountHandlers
from gateway.accounts import Passwords
from gateway.callers import Callers
from gateway.connections import open_server
from gateway.counters import open_counters
from gateway.guesses import Guesses
from gateway.handlers import Handlers
from gateway.in_flight import InFlight, in_flight_middleware
from gateway.jwks import open_issuer_keys
from gateway.oidc import ExternalIssuer
from gateway.problems import problem_middleware
from gateway.rate_limits import Policy, RateLimits
from gateway.requests import (
    address_limit_middleware,
    for_passwords,
    for_roles,
    origin_middleware,
    record_middleware,
)
from gateway.revocations import open_revocations
from gateway.tokens import Tokens
from gateway.waiting import open_waiting
from shared.domain.account import Role
from shared.health import health_routes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

    from aiohttp.typedefs import Handler
    from limits.aio.storage import Storage

    from shared.health import Check
    from shared.ports import AccountStore, EcgStore, LoginStore, Publisher
    from shared.settings import GatewayOnlySettings


class Route(NamedTuple):
    """A path and who may ask for it.

    Attributes:
        role: A role, any of several, or None for anybody.
        takes_password: Whether each request costs what a password does, and is limited accordingly.
    """

    method: str
    path: str
    handler: Handler
    role: Role | frozenset[Role] | None
    takes_password: bool = False


def routes(handlers: Handlers, account_handlers: AccountHandlers) -> list[Route]:
    """Every route but health's; each one says who may call it."""
    return [
        *_account_routes(account_handlers),
        Route("POST", "/ecg/process", handlers.post_ecg, Role.USER),
        Route("GET", "/ecg/{id}", handlers.get_ecg, Role.USER),
    ]


def _account_routes(handlers: AccountHandlers) -> list[Route]:
    return [
        Route("POST", "/token", handlers.post_token, None, takes_password=True),
        Route("POST", "/token/refresh", handlers.post_refresh, None),
        Route("POST", "/token/revoke", handlers.post_revoke, None),
        Route("GET", "/.well-known/jwks.json", handlers.get_jwks, None),
        Route("POST", "/user", handlers.post_user, Role.ADMIN),
        Route("GET", "/user", handlers.get_users, Role.ADMIN),
        Route("DELETE", "/user/{name}", handlers.delete_user, Role.ADMIN),
        Route("PUT", "/user/{name}/roles", handlers.put_roles, Role.ADMIN),
        Route("PUT", "/user/{name}/password", handlers.put_password, frozenset(Role)),
    ]


@asynccontextmanager
async def open_gateway(
    settings: GatewayOnlySettings,
    *,
    token_key: str,
    store: EcgStore,
    accounts: AccountStore,
    logins: LoginStore,
    publisher: Publisher,
    checks: Mapping[str, Check],
) -> AsyncIterator[str]:
    """Answer requests for as long as the context is open; on leaving, finish those in hand.

    Yields the address at which it listens.

    Raises:
        ConfigurationError: The port is taken, or the token key is not one.
    """
    tokens = Tokens(
        key=token_key,
        issuer=settings.token_issuer,
        audience=settings.token_audience,
        lifetime_s=settings.token_lifetime_s,
    )
    async with AsyncExitStack() as opened:
        counters = await opened.enter_async_context(open_counters(settings.redis_url_or_none()))
        revocations = await opened.enter_async_context(
            open_revocations(accounts, within_s=settings.revocation_s)
        )
        callers = Callers(tokens, revocations, await _external_issuer(settings, opened))
        handlers = Handlers(
            store=store,
            publisher=publisher,
            waiting=await opened.enter_async_context(open_waiting(store)),
            settings=settings,
        )
        account_handlers = AccountHandlers(
            accounts=accounts,
            logins=logins,
            tokens=tokens,
            passwords=Passwords(),
            guesses=Guesses(counters),
            settings=settings,
        )
        limits = _rate_limits(settings, counters)
        app = _app(routes(handlers, account_handlers), callers, limits, settings)
        app.add_routes(health_routes(checks))
        app.on_shutdown.append(_leave(handlers))
        yield await opened.enter_async_context(
            open_server(app, settings.host, settings.port, head_timeout_s=settings.read_timeout_s)
        )


def _leave(handlers: Handlers) -> Callable[[web.Application], Awaitable[None]]:
    async def leave(_: web.Application) -> None:
        handlers.waiting.leave()  # else leaving would take as long as the last of them waits

    return leave


async def _external_issuer(settings: GatewayOnlySettings, opened: AsyncExitStack) -> ExternalIssuer | None:
    if not settings.oidc_issuer:
        return None
    return ExternalIssuer(
        issuer=settings.oidc_issuer,
        audience=settings.oidc_audience,
        roles_claim=settings.oidc_roles_claim,
        keys=await opened.enter_async_context(
            open_issuer_keys(settings.oidc_issuer, settings.oidc_jwks_url or None)
        ),
    )


def _rate_limits(settings: GatewayOnlySettings, counters: Storage) -> RateLimits:
    per_minute = {
        Policy.ADDRESS: settings.rate_per_address,
        Policy.CALLER: settings.rate_per_caller,
        Policy.LOGIN: settings.rate_of_logins,
    }
    return RateLimits(counters, per_minute)


def _app(
    routes: Iterable[Route], callers: Callers, limits: RateLimits, settings: GatewayOnlySettings
) -> web.Application:
    in_flight = InFlight(max_bytes=settings.max_bytes_in_flight, read_timeout_s=settings.read_timeout_s)
    app = web.Application(
        middlewares=[
            record_middleware,
            origin_middleware(proxies=settings.trusted_proxies),
            problem_middleware,
            address_limit_middleware(limits),
            in_flight_middleware(in_flight),
        ]
    )
    for route in routes:
        app.router.add_route(route.method, route.path, _guarded(route, callers, limits))
    return app


def _guarded(route: Route, callers: Callers, limits: RateLimits) -> Handler:
    if route.role is None:
        return for_passwords(route.handler, limits=limits) if route.takes_password else route.handler
    roles = route.role if isinstance(route.role, frozenset) else frozenset({route.role})
    return for_roles(roles, route.handler, callers=callers, limits=limits)
