"""Who sends a request, whoever issued their token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.tokens import InvalidTokenError

if TYPE_CHECKING:
    from gateway.oidc import ExternalIssuer
    from gateway.revocations import Revocations
    from gateway.tokens import Caller, Tokens


@dataclass(frozen=True, slots=True)
class Callers:
    """Tokens of ours that have not ended, and those of an external issuer, if there is one."""

    tokens: Tokens
    revocations: Revocations
    external: ExternalIssuer | None = None

    async def caller(self, token: str) -> Caller:
        """Whose token it is.

        Raises:
            InvalidTokenError: It proves nothing, or no longer.
            UnavailableError: Nobody can tell at present.
        """
        if self.external is not None and not self.tokens.may_have_issued(token):
            return await self.external.caller(token)
        caller = self.tokens.caller(token)
        if caller.version is None or self.revocations.is_past(caller.name, caller.version):
            raise InvalidTokenError("its account has changed since")
        return caller
