"""The gateway as an HTTP service: its features, behind the middleware, and a server that answers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from gateway.accounts.feature import accounts_feature
from gateway.accounts.routes import ACCOUNT_ROUTES
from gateway.api_keys.feature import api_keys_feature
from gateway.api_keys.routes import API_KEY_ROUTES
from gateway.auth.access_tokens import AccessTokens
from gateway.auth.database_clock import DatabaseClock
from gateway.auth.guards import Guards
from gateway.auth.monitored_authenticator import open_monitored_authenticator
from gateway.contract.asyncapi import asyncapi_document
from gateway.contract.event_contract import EventContractHandlers
from gateway.contract.feature import Feature
from gateway.contract.openapi import openapi_document
from gateway.contract.pages import DocumentationHandlers
from gateway.contract.routes import DOCUMENTATION_ROUTES, EVENT_CONTRACT_ROUTES
from gateway.ecgs.feature import open_ecgs
from gateway.ecgs.routes import ECG_ROUTES
from gateway.events.feature import open_events
from gateway.events.routes import EVENT_ROUTES
from gateway.health.feature import open_health_feature
from gateway.health.routes import HEALTH_ROUTES
from gateway.http.cors import CorsPolicy
from gateway.http.memory.body_memory import BodyMemoryBudget
from gateway.http.middleware import with_middleware
from gateway.http.router import Router
from gateway.http.server import open_server
from gateway.limits.rate_limiter import Policy, RateLimiter
from gateway.limits.redis_counters import open_counter_store
from gateway.ops.feature import open_ops
from gateway.ops.routes import OPS_ROUTES
from gateway.pages.handlers import PageHandlers
from gateway.pages.routes import PAGE_ROUTES
from gateway.webhooks.feature import webhooks_feature
from gateway.webhooks.routes import WEBHOOK_ROUTES
from shared.backlog_age import health_part_of_backlog_age
from shared.release import RELEASE
from shared.runtime.health import open_health

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Mapping

    from gateway.ecgs.feature import EcgPorts
    from gateway.ops.feature import OpsPorts
    from shared.ports.accounts import AccountStore
    from shared.ports.api_keys import ApiKeyStore
    from shared.ports.logins import LoginStore
    from shared.ports.operators.backlog import BacklogReader
    from shared.ports.webhooks import WebhookStore
    from shared.runtime.health import HealthPart
    from shared.runtime.settings import GatewayOnlySettings

ROUTES: Final = (
    *ECG_ROUTES,
    *EVENT_ROUTES,
    *WEBHOOK_ROUTES,
    *ACCOUNT_ROUTES,
    *API_KEY_ROUTES,
    *OPS_ROUTES,
    *DOCUMENTATION_ROUTES,
    *EVENT_CONTRACT_ROUTES,
    *PAGE_ROUTES,
    *HEALTH_ROUTES,
)


def contract(settings: GatewayOnlySettings) -> dict[str, Any]:
    """The OpenAPI document of a gateway of these settings."""
    return openapi_document(ROUTES, settings, version=RELEASE)


@asynccontextmanager
async def open_gateway(
    settings: GatewayOnlySettings,
    *,
    token_key: str,
    ecgs: EcgPorts,
    accounts: AccountStore,
    logins: LoginStore,
    api_keys: ApiKeyStore,
    webhooks: WebhookStore,
    backlog: BacklogReader,
    ops: OpsPorts,
    health_parts: Mapping[str, HealthPart],
    operations_port: int,
    amqp_namespace: str = "",
    shares_port: bool = False,
) -> AsyncIterator[str]:
    """Answer requests for as long as the context is open, then drain, so that no client notices.

    Readiness is 503 by then, by one of the ``health_parts``. For ``settings.drain_s`` every response closes
    its connection and no request waits for a result any longer, so that load balancer and clients turn to
    other gateways; then accepting stops and open requests are answered. The operations port is open until
    then.

    Yields the address at which it listens.

    Raises:
        ConfigurationError: A port is taken, the token key is not one, or there is nowhere to spool to.
    """
    tokens = AccessTokens(
        key=token_key,
        issuer=settings.token_issuer,
        audience=settings.token_audience,
        lifetime_s=settings.token_lifetime_s,
    )
    async with AsyncExitStack() as opened:
        enter = opened.enter_async_context
        clock = DatabaseClock()
        counter_store = await enter(open_counter_store(settings.redis_url_or_none()))
        monitored = await enter(
            open_monitored_authenticator(
                settings, tokens=tokens, accounts=accounts, api_keys=api_keys, clock=clock
            )
        )
        features = [
            await enter(open_ecgs(settings, ports=ecgs, clock=clock)),
            accounts_feature(
                settings,
                accounts=accounts,
                logins=logins,
                tokens=tokens,
                failed_logins=counter_store.mirrored_counters(),
                clock=clock,
            ),
            api_keys_feature(api_keys, accounts=accounts, verifier=monitored.api_keys),
            webhooks_feature(webhooks, log=ecgs.event_log, rules=settings.egress_rules),
            Feature(routes=DOCUMENTATION_ROUTES, handlers=DocumentationHandlers(contract(settings))),
            Feature(
                routes=EVENT_CONTRACT_ROUTES,
                handlers=EventContractHandlers(asyncapi_document(namespace=amqp_namespace, version=RELEASE)),
            ),
            Feature(routes=PAGE_ROUTES, handlers=PageHandlers()),
        ]
        own_parts = [counter_store.health_parts, monitored.health_parts]
        own_parts += [feature.health_parts for feature in features]
        backlog_age = health_part_of_backlog_age(backlog, warning_s=settings.backlog_age_warning_s)
        health = await enter(open_health(_merged([health_parts, *own_parts, {"backlog_age": backlog_age}])))
        features += [
            await enter(
                open_health_feature(
                    health, backlog=backlog, host=settings.operations_host, port=operations_port
                )
            ),
            await enter(open_ops(ops, health=health)),
            await enter(open_events(ecgs.event_log)),
        ]
        draining = asyncio.Event()
        guards = Guards(
            monitored.authenticator,
            counter_store,
            rate_per_caller=settings.rate_per_caller,
            rate_of_logins=settings.rate_of_logins,
            budget=BodyMemoryBudget(
                max_bytes=settings.max_bytes_in_flight,
                max_body_bytes=settings.max_body_bytes,
                read_timeout_s=settings.read_timeout_s,
            ),
        )
        cors = _cors_policy(settings.allowed_origins)
        handler = with_middleware(
            _build_router(features, guards, cors),
            proxies=settings.trusted_proxies,
            limiter=RateLimiter(Policy.ADDRESS, settings.rate_per_address, counter_store.counters()),
            draining=draining,
        )
        yield await enter(
            open_server(
                handler,
                settings.host,
                settings.port,
                head_timeout_s=settings.read_timeout_s,
                max_connections=settings.max_connections,
                cors=cors,
                shares_port=shares_port,
            )
        )
        await _drain(draining, features, drain_s=settings.drain_s)


async def _drain(draining: asyncio.Event, features: Iterable[Feature], *, drain_s: float) -> None:
    """Go on answering for so many seconds; every response closes its connection, and none waits."""
    draining.set()
    for feature in features:
        feature.begin_drain()
    await asyncio.sleep(drain_s)


def _merged(parts: Iterable[Mapping[str, HealthPart]]) -> dict[str, HealthPart]:
    return {name: part for named in parts for name, part in named.items()}


def _cors_policy(origins: Collection[str]) -> CorsPolicy | None:
    return CorsPolicy(origins, {route.method for route in ROUTES}) if origins else None


def _build_router(features: Iterable[Feature], guards: Guards, cors: CorsPolicy | None) -> Router:
    router = Router()
    for feature in features:
        for route in feature.routes:
            handler = guards.guard(route, partial(route.handler, feature.handlers))
            for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
                router.add(method, route.path, handler)
            if cors is not None:
                router.add("OPTIONS", route.path, cors.answer_preflight)
    return router
