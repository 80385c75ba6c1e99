"""The authenticator: verifies access tokens, our own and those of an external issuer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.auth.access_tokens import InvalidTokenError
from gateway.auth.token_cache import TokenCache

if TYPE_CHECKING:
    from gateway.auth.access_tokens import AccessTokens, VerifiedToken
    from gateway.auth.database_clock import DatabaseClock
    from gateway.auth.external_issuer import ExternalIssuer
    from gateway.auth.revocations import Revocations
    from gateway.http.caller import Caller


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Authenticates callers by tokens that are not expired or revoked, of either issuer."""

    tokens: AccessTokens
    revocations: Revocations
    clock: DatabaseClock
    external: ExternalIssuer | None = None
    _cache: TokenCache = field(default_factory=TokenCache)

    async def authenticate(self, token: str) -> Caller:
        """The caller that a token proves.

        Its signature is verified when it is first seen, which takes 120 us; expiry and changes of the account
        are checked each time.

        Raises:
            InvalidTokenError: It is invalid, expired or revoked.
            UnavailableError: This can't be decided at present.
        """
        now = self.clock.now()
        caller = self._cache.get(token, now=now)
        if caller is None:
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
