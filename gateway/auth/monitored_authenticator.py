"""Open the authenticator with the revocations, API keys and external issuer's keys that it needs."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from gateway.auth.api_key_verifier import ApiKeyVerifier, open_api_key_verifier
from gateway.auth.authenticator import Authenticator
from gateway.auth.external_issuer import ExternalIssuer
from gateway.auth.jwks import open_jwks_client
from gateway.auth.revocations import open_revocations
from shared.runtime.health import HealthPart, sync_check

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gateway.auth.access_tokens import AccessTokens
    from gateway.auth.database_clock import DatabaseClock
    from shared.ports.accounts import AccountStore
    from shared.ports.api_keys import ApiKeyStore
    from shared.runtime.settings import GatewayOnlySettings


class MonitoredAuthenticator(NamedTuple):
    """The authenticator, and its parts that may fail while the process runs, by name, for health."""

    authenticator: Authenticator
    api_keys: ApiKeyVerifier
    health_parts: Mapping[str, HealthPart]


@asynccontextmanager
async def open_monitored_authenticator(
    settings: GatewayOnlySettings,
    *,
    tokens: AccessTokens,
    accounts: AccountStore,
    api_keys: ApiKeyStore,
    clock: DatabaseClock,
) -> AsyncIterator[MonitoredAuthenticator]:
    """Yield it; revocations and the external issuer's keys are refreshed while the context is open."""
    async with AsyncExitStack() as opened:
        revocations = await opened.enter_async_context(
            open_revocations(accounts, clock, within_s=settings.revocation_s)
        )
        verifier = await opened.enter_async_context(open_api_key_verifier(api_keys, revocations))
        health_parts = {
            "tokens": HealthPart(
                check=sync_check(revocations.check),
                impact="Requests with a token are answered with 503 and may be sent again later.",
                is_in_memory=True,
            )
        }
        external = None
        if settings.oidc_issuer:
            keys = await opened.enter_async_context(
                open_jwks_client(settings.oidc_issuer, settings.oidc_jwks_url or None)
            )
            external = ExternalIssuer(
                issuer=settings.oidc_issuer,
                audience=settings.oidc_audience,
                roles_claim=settings.oidc_roles_claim,
                keys=keys,
            )
            health_parts["issuer"] = HealthPart(
                check=sync_check(keys.check),
                impact=(
                    "Tokens of the external issuer by a key not known yet are answered with 503; "
                    "others serve on."
                ),
                fails_after_s=math.inf,
                is_in_memory=True,
                is_logged=False,
            )
        authenticator = Authenticator(tokens, revocations, clock, external, verifier)
        yield MonitoredAuthenticator(authenticator, verifier, health_parts)
