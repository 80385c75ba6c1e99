"""The gateway as an HTTP service: its route table, and a server that answers it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from aiohttp import web

from gateway.accounts import Passwords
from gateway.handlers import Handlers
from gateway.problems import problem_middleware
from gateway.requests import for_role, record_middleware
from gateway.tokens import Tokens
from gateway.waiting import open_waiting
from shared.domain.account import Role
from shared.domain.errors import ConfigurationError
from shared.health import health_routes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiohttp.typedefs import Handler

    from shared.health import Check
    from shared.ports import AccountStore, EcgStore, Publisher
    from shared.settings import GatewayOnlySettings

# aiohttp's default of an hour lets connections of clients long gone pile up.
_KEEP_ALIVE_S: Final = 75.0
_LEAVE_WITHIN_S: Final = 20.0


class Route(NamedTuple):
    """A path and who may ask for it: a role, or None for anybody."""

    method: str
    path: str
    handler: Handler
    role: Role | None


def routes(handlers: Handlers) -> list[Route]:
    """Every route but health's; each one says who may call it."""
    return [
        Route("POST", "/token", handlers.post_token, None),
        Route("POST", "/user", handlers.post_user, Role.ADMIN),
        Route("POST", "/ecg/process", handlers.post_ecg, Role.USER),
        Route("GET", "/ecg/{id}", handlers.get_ecg, Role.USER),
    ]


@asynccontextmanager
async def open_gateway(
    settings: GatewayOnlySettings,
    *,
    token_key: str,
    store: EcgStore,
    accounts: AccountStore,
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
    async with open_waiting(store) as waiting:
        handlers = Handlers(
            store=store,
            accounts=accounts,
            publisher=publisher,
            waiting=waiting,
            tokens=tokens,
            passwords=Passwords(),
            settings=settings,
        )
        async with _open_server(_app(handlers, checks), settings.host, settings.port) as address:
            yield address


def _app(handlers: Handlers, checks: Mapping[str, Check]) -> web.Application:
    app = web.Application(middlewares=[record_middleware, problem_middleware])

    async def leave(_: web.Application) -> None:
        handlers.waiting.leave()  # else leaving would take as long as the last of them waits

    app.on_shutdown.append(leave)
    app.add_routes(health_routes(checks))
    for route in routes(handlers):
        guard = partial(for_role, route.role, tokens=handlers.tokens) if route.role else None
        app.router.add_route(route.method, route.path, guard(route.handler) if guard else route.handler)
    return app


@asynccontextmanager
async def _open_server(app: web.Application, host: str, port: int) -> AsyncIterator[str]:
    runner = web.AppRunner(
        app,
        access_log=None,  # `record_middleware` writes the one record per request
        auto_decompress=False,  # `gateway.bodies` unpacks within bounds
        keepalive_timeout=_KEEP_ALIVE_S,
        shutdown_timeout=_LEAVE_WITHIN_S,
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ConfigurationError(
                f"ISOLINE_HOST, ISOLINE_PORT: can't listen on {host}:{port}: {error.strerror}"
            ) from None
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
