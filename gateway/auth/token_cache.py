"""Tokens whose signatures were verified a moment ago, so that each need not be with every request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.auth.access_tokens import Caller, Verified

# Callers with a token each, of which ours take 2 MB; of the longest, which are 8 KB, 2,000 are kept.
_MAX_TOKENS: Final = 4096
_MAX_LENGTH: Final = 16 * 2**20


class VerifiedTokens:
    """A bounded number of tokens. Nobody can fill it with others: only a verified one comes in."""

    def __init__(self, max_tokens: int = _MAX_TOKENS, max_length: int = _MAX_LENGTH) -> None:
        self._max_tokens = max_tokens
        self._max_length = max_length
        self._length = 0
        self._verified: dict[str, Verified] = {}

    def caller(self, token: str, *, now: float) -> Caller | None:
        """Whose token it is; None where it is unknown or has expired."""
        verified = self._verified.get(token)
        if verified is None:
            return None
        if verified.until <= now:
            self._forget(token)
            return None
        return verified.caller

    def keep(self, token: str, verified: Verified) -> None:
        """Remember a token; those that came in first make room."""
        if token not in self._verified:
            self._length += len(token)
        self._verified[token] = verified
        while len(self._verified) > self._max_tokens or self._length > self._max_length:
            self._forget(next(iter(self._verified)))

    def _forget(self, token: str) -> None:
        del self._verified[token]
        self._length -= len(token)
