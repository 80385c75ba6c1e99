"""The gateway as an HTTP service: its routes behind what every request passes, and a server that answers."""

from __future__ import annotations

import asyncio
import math
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gateway.accounts.handlers import AccountHandlers
from gateway.accounts.routes import ACCOUNT_ROUTES
from gateway.accounts.use_cases import Passwords
from gateway.auth.access_tokens import Tokens
from gateway.auth.authenticator import Callers
from gateway.auth.database_clock import DatabaseClock
from gateway.auth.external_issuer import ExternalIssuer
from gateway.auth.guards import Guards
from gateway.auth.jwks import open_issuer_keys
from gateway.auth.revocations import open_revocations
from gateway.contract.openapi import openapi_document
from gateway.contract.pages import Documents
from gateway.contract.routes import DOCUMENT_ROUTES
from gateway.ecgs.backlog import open_backlog
from gateway.ecgs.handlers import Handlers
from gateway.ecgs.result_cache import Results
from gateway.ecgs.result_waiter import open_waiting
from gateway.ecgs.routes import ECG_ROUTES
from gateway.ecgs.submission_batcher import open_intake
from gateway.formats.registry import Formats
from gateway.formats.spool import Spools
from gateway.http.bodies.body_memory import MemoryBudget
from gateway.http.middleware import front
from gateway.http.router import Router
from gateway.http.server import open_server
from gateway.limits.login_throttle import LoginThrottle
from gateway.limits.rate_limiter import Policy, RateLimiter
from gateway.limits.redis_counters import open_counter_store
from gateway.operations.handlers import HealthHandlers
from gateway.operations.routes import HEALTH_ROUTES
from shared.release import RELEASE
from shared.runtime.health import Part, open_health
from shared.runtime.operations_port import open_operations_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from gateway.auth.revocations import Revocations
    from gateway.contract.route import Route
    from gateway.ecgs.backlog import Backlog
    from gateway.ecgs.result_waiter import Waiting
    from shared.ports.accounts import AccountStore
    from shared.ports.broker import Publisher
    from shared.ports.ecgs import EcgStore, RecordingStore
    from shared.ports.installation import Installation
    from shared.ports.logins import LoginStore
    from shared.ports.outbox import Outbox
    from shared.ports.owned_ecgs import OwnedEcgs
    from shared.runtime.health import Check
    from shared.runtime.settings import GatewayOnlySettings

ROUTES: Final = (*ECG_ROUTES, *ACCOUNT_ROUTES, *DOCUMENT_ROUTES, *HEALTH_ROUTES)

NO_SUBMISSION_IS_TAKEN: Final = "Submissions are answered with 503 and may be sent again later."
NO_RECORDING_IS_TAKEN: Final = (
    "ECGs of more than 500,000 samples are answered with 503 and may be sent again later; others are taken."
)
NO_RESULT_IS_READ: Final = "Requests for results and lists are answered with 503 and may be sent again later."
NO_ECG_IS_ERASED: Final = "Requests to erase an ECG are answered with 503 and may be sent again later."
NO_ACCOUNT_IS_SERVED: Final = (
    "Logins, or changes of accounts, are answered with 503; tokens serve on while the part `tokens` is ok."
)
NO_REQUEST_IS_SERVED: Final = "Requests are answered with 503 and may be sent again later."


def contract(settings: GatewayOnlySettings) -> dict[str, Any]:
    """The OpenAPI document of a gateway of these settings."""
    return openapi_document(ROUTES, settings, version=RELEASE)


@asynccontextmanager
async def open_gateway(
    settings: GatewayOnlySettings,
    *,
    token_key: str,
    store: EcgStore,
    recordings: RecordingStore,
    owned_ecgs: OwnedEcgs,
    outbox: Outbox,
    accounts: AccountStore,
    logins: LoginStore,
    publisher: Publisher,
    installation: Installation,
    parts: Mapping[str, Part],
    operations_port: int,
    shares_port: bool = False,
) -> AsyncIterator[str]:
    """Answer requests for as long as the context is open, then leave so that no client notices.

    Readiness is 503 by then, by one of the ``parts``. For ``settings.drain_s`` every answer closes its
    connection and nobody waits for a result any longer, so that load balancer and clients turn to others;
    then accepting stops and requests in hand are finished. The operations port is open until then.

    Yields the address at which it listens.

    Raises:
        ConfigurationError: A port is taken, the token key is not one, or there is nowhere to spool to.
    """
    tokens = Tokens(
        key=token_key,
        issuer=settings.token_issuer,
        audience=settings.token_audience,
        lifetime_s=settings.token_lifetime_s,
    )
    async with AsyncExitStack() as opened:
        clock = DatabaseClock()
        counter_store = await opened.enter_async_context(open_counter_store(settings.redis_url_or_none()))
        revocations = await opened.enter_async_context(
            open_revocations(accounts, clock, within_s=settings.revocation_s)
        )
        waiting = await opened.enter_async_context(open_waiting(store))
        intake = await opened.enter_async_context(
            open_intake(
                store=store,
                publisher=publisher,
                installation=installation,
                publish_timeout_s=settings.publish_timeout_s,
            )
        )
        backlog = await opened.enter_async_context(open_backlog(store, limit=settings.max_backlog))
        handlers = Handlers(
            intake=intake,
            recordings=recordings,
            formats=Formats(settings, _spools(settings)),
            owned_ecgs=owned_ecgs,
            outbox=outbox,
            publisher=publisher,
            installation=installation,
            backlog=backlog,
            results=Results(waiting, max_bytes=settings.result_cache_bytes),
            clock=clock,
            settings=settings,
        )
        account_handlers = AccountHandlers(
            accounts=accounts,
            logins=logins,
            tokens=tokens,
            passwords=Passwords(),
            throttle=LoginThrottle(counter_store.remembered_counters()),
            clock=clock,
            settings=settings,
        )
        external = await _external_issuer(settings, opened)
        callers = Callers(tokens, revocations, clock, external)
        own_parts = _own_parts(revocations, backlog, waiting) | _parts_of(external)
        health = await opened.enter_async_context(open_health({**parts, **own_parts}))
        await opened.enter_async_context(
            open_operations_port(settings.operations_host, operations_port, health=health)
        )
        leaving = asyncio.Event()
        router = Router()
        guards = Guards(
            callers,
            counter_store,
            rate_per_caller=settings.rate_per_caller,
            rate_of_logins=settings.rate_of_logins,
            budget=MemoryBudget(
                max_bytes=settings.max_bytes_in_flight,
                max_body_bytes=settings.max_body_bytes,
                read_timeout_s=settings.read_timeout_s,
            ),
        )
        answering: tuple[tuple[Iterable[Route], object], ...] = (
            (ECG_ROUTES, handlers),
            (ACCOUNT_ROUTES, account_handlers),
            (DOCUMENT_ROUTES, Documents(contract(settings))),
            (HEALTH_ROUTES, HealthHandlers(health)),
        )
        for routes, answerer in answering:
            _add(router, routes, answerer, guards)
        answer = front(
            router,
            proxies=settings.trusted_proxies,
            limiter=RateLimiter(Policy.ADDRESS, settings.rate_per_address, counter_store.counters()),
            leaving=leaving,
        )
        yield await opened.enter_async_context(
            open_server(
                answer,
                settings.host,
                settings.port,
                head_timeout_s=settings.read_timeout_s,
                shares_port=shares_port,
            )
        )
        leaving.set()
        waiting.leave()  # else leaving would take as long as the last of them waits
        await asyncio.sleep(settings.drain_s)


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


def _own_parts(revocations: Revocations, backlog: Backlog, waiting: Waiting) -> dict[str, Part]:
    """What the gateway looks up in the background: whether that is known, whoever asks for it."""
    return {
        "tokens": Part(
            check=_told_at_once(revocations.check),
            means="Requests with a token are answered with 503 and may be sent again later.",
            is_free=True,
        ),
        "backlog": Part(
            check=_told_at_once(backlog.check_measured),
            means="New ECGs are answered with 503 while the backlog is at its limit, or was when last known.",
            fails_after_s=math.inf,
            is_free=True,
            is_logged=False,
        ),
        "waiting": Part(
            check=_told_at_once(waiting.check),
            means="Requests that wait for a result (`?wait=`) are told late that it is there.",
            fails_after_s=math.inf,
            is_free=True,
            is_logged=False,
        ),
    }


def _parts_of(external: ExternalIssuer | None) -> dict[str, Part]:
    if external is None:
        return {}
    issuer = Part(
        check=_told_at_once(external.keys.check),
        means="Tokens of the external issuer by a key not known yet are answered with 503; others serve on.",
        fails_after_s=math.inf,
        is_free=True,
        is_logged=False,
    )
    return {"issuer": issuer}


def _told_at_once(known: Callable[[], None]) -> Check:
    async def check() -> None:
        known()

    return check


def _spools(settings: GatewayOnlySettings) -> Spools:
    spools = Spools(settings.spool_dir, max_bytes=settings.max_spooled_bytes)
    spools.check()
    return spools


def _add(router: Router, routes: Iterable[Route], answerer: object, guards: Guards) -> None:
    """Have an object answer the routes whose handlers are methods of its class."""
    for route in routes:
        handler = guards.guarded(route, partial(route.handler, answerer))
        for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
            router.add(method, route.path, handler)
