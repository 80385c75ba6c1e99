"""The feature of accounts: log in and out, and administer accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.accounts.handlers import AccountHandlers
from gateway.accounts.password_hashing import PasswordHashing
from gateway.accounts.routes import ACCOUNT_ROUTES
from gateway.contract.feature import Feature
from gateway.limits.login_throttle import LoginThrottle

if TYPE_CHECKING:
    from gateway.auth.access_tokens import AccessTokens
    from gateway.auth.database_clock import DatabaseClock
    from gateway.limits.counters import Counters
    from shared.ports.accounts import AccountStore
    from shared.ports.logins import LoginStore
    from shared.runtime.settings import GatewayOnlySettings


def accounts_feature(
    settings: GatewayOnlySettings,
    *,
    accounts: AccountStore,
    logins: LoginStore,
    tokens: AccessTokens,
    failed_logins: Counters,
    clock: DatabaseClock,
) -> Feature:
    """The feature; it opens nothing of its own."""
    return Feature(
        routes=ACCOUNT_ROUTES,
        handlers=AccountHandlers(
            accounts=accounts,
            logins=logins,
            tokens=tokens,
            passwords=PasswordHashing(),
            throttle=LoginThrottle(failed_logins),
            clock=clock,
            settings=settings,
        ),
    )
