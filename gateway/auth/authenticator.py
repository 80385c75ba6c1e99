"""The authenticator: verifies access tokens, our own and those of an external issuer, and API keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.auth.access_tokens import InvalidTokenError
from gateway.auth.token_cache import TokenCache
from shared.domain.api_key import looks_like_secret

if TYPE_CHECKING:
    from gateway.auth.access_tokens import AccessTokens, VerifiedToken
    from gateway.auth.api_key_verifier import ApiKeyVerifier
    from gateway.auth.database_clock import DatabaseClock
    from gateway.auth.external_issuer import ExternalIssuer
    from gateway.auth.revocations import Revocations
    from gateway.http.caller import Caller


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Authenticates callers by tokens that are not expired or revoked, of either issuer, and by API keys.

    Attributes:
        external: The other issuer; None without one.
        api_keys: Verifies API keys; None if none are taken.
    """

    tokens: AccessTokens
    revocations: Revocations
    clock: DatabaseClock
    external: ExternalIssuer | None = None
    api_keys: ApiKeyVerifier | None = None
    _cache: TokenCache = field(default_factory=TokenCache)

    async def authenticate(self, token: str) -> Caller:
        """The caller that a token or an API key proves.

        A token's signature is verified when it is first seen, which takes 120 us; expiry and changes of the
        account are checked each time.

        Raises:
            InvalidTokenError: It is invalid, expired or revoked.
            UnavailableError: This can't be decided at present.
        """
        now = self.clock.now()
        caller = self._cache.get(token, now=now)
        if caller is None:
            # Not before: that would be a step more for each request with a token.
            if self.api_keys is not None and looks_like_secret(token):
                return await self.api_keys.verify(token, now=now)
            verified = await self._verify(token, now)
            self._cache.put(token, verified)
            caller = verified.caller
        if caller.version is not None and self.revocations.is_revoked(caller.name, caller.version):
            raise InvalidTokenError("its account has changed since", claim="ver")
        return caller

    async def _verify(self, token: str, now: float) -> VerifiedToken:
        if self.external is not None and not self.tokens.may_have_issued(token):
            return await self.external.verify(token, now=now)
        return self.tokens.verify(token, now=now)
