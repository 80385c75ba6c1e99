"""The feature of API keys: create, list and revoke them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.api_keys.handlers import ApiKeyHandlers
from gateway.api_keys.routes import API_KEY_ROUTES
from gateway.contract.feature import Feature

if TYPE_CHECKING:
    from gateway.auth.api_key_verifier import ApiKeyVerifier
    from shared.ports.accounts import AccountStore
    from shared.ports.api_keys import ApiKeyStore


def api_keys_feature(keys: ApiKeyStore, *, accounts: AccountStore, verifier: ApiKeyVerifier) -> Feature:
    """The feature; it opens nothing of its own.

    Args:
        keys: All keys.
        accounts: All accounts.
        verifier: By which this gateway takes keys.
    """
    return Feature(
        routes=API_KEY_ROUTES, handlers=ApiKeyHandlers(keys=keys, accounts=accounts, verifier=verifier)
    )
