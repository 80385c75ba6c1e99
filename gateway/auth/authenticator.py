"""Who sends a request, whoever issued their token."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.auth.access_tokens import InvalidTokenError
from gateway.auth.token_cache import VerifiedTokens

if TYPE_CHECKING:
    from gateway.auth.access_tokens import Caller, Tokens, Verified
    from gateway.auth.database_clock import DatabaseClock
    from gateway.auth.external_issuer import ExternalIssuer
    from gateway.auth.revocations import Revocations


@dataclass(frozen=True, slots=True)
class Callers:
    """Tokens of ours that have not ended, and those of an external issuer, if there is one."""

    tokens: Tokens
    revocations: Revocations
    clock: DatabaseClock
    external: ExternalIssuer | None = None
    _verified: VerifiedTokens = field(default_factory=VerifiedTokens)

    async def caller(self, token: str) -> Caller:
        """Whose token it is.

        Its signature is verified when it is first seen, which takes 120 us; whether it has expired, or its
        account has changed, is looked at each time.

        Raises:
            InvalidTokenError: It proves nothing, or no longer.
            UnavailableError: Nobody can tell at present.
        """
        now = self.clock.now()
        caller = self._verified.caller(token, now=now)
        if caller is None:
            verified = await self._verify(token, now)
            self._verified.keep(token, verified)
            caller = verified.caller
        if caller.version is not None and self.revocations.is_past(caller.name, caller.version):
            raise InvalidTokenError("its account has changed since", claim="ver")
        return caller

    async def _verify(self, token: str, now: float) -> Verified:
        if self.external is not None and not self.tokens.may_have_issued(token):
            return await self.external.verify(token, now=now)
        return self.tokens.verify(token, now=now)
