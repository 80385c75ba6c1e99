"""Tokens whose signatures were verified a moment ago, so that each need not be with every request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.tokens import Caller, Verified

# Callers with a token each; the longest tokens (4 KB) take 16 MB, ours 2.
_MAX_TOKENS: Final = 4096


class VerifiedTokens:
    """A bounded number of tokens. Nobody can fill it with others: only a verified one comes in."""

    def __init__(self, max_tokens: int = _MAX_TOKENS) -> None:
        self._max_tokens = max_tokens
        self._verified: dict[str, Verified] = {}

    def caller(self, token: str, *, now: float) -> Caller | None:
        """Whose token it is; None where it is unknown or has expired."""
        verified = self._verified.get(token)
        if verified is None:
            return None
        if verified.until <= now:
            del self._verified[token]
            return None
        return verified.caller

    def keep(self, token: str, verified: Verified) -> None:
        """Remember a token; the one that came in first makes room."""
        self._verified[token] = verified
        if len(self._verified) > self._max_tokens:
            del self._verified[next(iter(self._verified))]
