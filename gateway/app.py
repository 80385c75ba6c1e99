"""The gateway as an HTTP service: its route table, and a server that answers it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from aiohttp import web

from gateway.accounts import Passwords
from gateway.documents import Documents
from gateway.handlers import Handlers
from gateway.problems import problem_middleware
from gateway.representations import representation_middleware
from gateway.requests import for_roles, record_middleware
from gateway.results import Results
from gateway.routes import ACCOUNT_ROUTES, DOCUMENT_ROUTES, ECG_ROUTES, HEALTH_ROUTES, contract
from gateway.tokens import Tokens
from gateway.waiting import open_waiting
from shared.domain.errors import ConfigurationError
from shared.health import Health

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from aiohttp.typedefs import Handler

    from gateway.contract import Route
    from shared.health import Check
    from shared.ports import AccountStore, EcgStore, Outbox, OwnedEcgs, Publisher
    from shared.settings import GatewayOnlySettings

# aiohttp's default of an hour lets connections of clients long gone pile up.
_KEEP_ALIVE_S: Final = 75.0
_LEAVE_WITHIN_S: Final = 20.0


@asynccontextmanager
async def open_gateway(
    settings: GatewayOnlySettings,
    *,
    token_key: str,
    store: EcgStore,
    owned_ecgs: OwnedEcgs,
    outbox: Outbox,
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
            owned_ecgs=owned_ecgs,
            outbox=outbox,
            accounts=accounts,
            publisher=publisher,
            results=Results(waiting, max_bytes=settings.result_cache_bytes),
            tokens=tokens,
            passwords=Passwords(),
            settings=settings,
        )
        app = _app(handlers, Documents(contract(settings)), Health(checks))

        async def leave(_: web.Application) -> None:
            waiting.leave()  # else leaving would take as long as the last of them waits

        app.on_shutdown.append(leave)
        async with _open_server(app, settings.host, settings.port) as address:
            yield address


def _app(handlers: Handlers, documents: Documents, health: Health) -> web.Application:
    app = web.Application(middlewares=[record_middleware, representation_middleware, problem_middleware])
    _add(app, ECG_ROUTES, handlers, handlers.tokens)
    _add(app, ACCOUNT_ROUTES, handlers, handlers.tokens)
    _add(app, DOCUMENT_ROUTES, documents, handlers.tokens)
    _add(app, HEALTH_ROUTES, health, handlers.tokens)
    return app


def _add(app: web.Application, routes: Iterable[Route], answering: object, tokens: Tokens) -> None:
    """Have an object answer the routes whose handlers are methods of its class."""
    for route in routes:
        handler: Handler = partial(route.handler, answering)
        if route.roles:
            handler = for_roles(route.roles, handler, tokens=tokens)
        for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
            app.router.add_route(method, route.path, handler)


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
                f"ISOLINE_PORT: can't listen on {host}:{port}: {error.strerror}"
            ) from None
        yield f"http://{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
