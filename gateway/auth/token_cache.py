"""A cache of verified tokens, so that a signature is not verified with every request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.auth.access_tokens import VerifiedToken
    from gateway.http.caller import Caller

# One token per caller; 4,096 of our own take 2 MB. Of tokens of the maximal 8 KB the cache keeps 2,000.
_MAX_TOKENS: Final = 4096
_MAX_LENGTH: Final = 16 * 2**20


class TokenCache:
    """A bounded number of tokens; made-up ones can't fill it, because only verified ones are cached."""

    def __init__(self, max_tokens: int = _MAX_TOKENS, max_length: int = _MAX_LENGTH) -> None:
        self._max_tokens = max_tokens
        self._max_length = max_length
        self._length = 0
        self._verified: dict[str, VerifiedToken] = {}

    def get(self, token: str, *, now: float) -> Caller | None:
        """The caller that a token proves; None if it is not cached or has expired."""
        verified = self._verified.get(token)
        if verified is None:
            return None
        if verified.until <= now:
            self._evict(token)
            return None
        return verified.caller

    def put(self, token: str, verified: VerifiedToken) -> None:
        """Cache a token; evicts the oldest ones beyond the limits."""
        if token not in self._verified:
            self._length += len(token)
        self._verified[token] = verified
        while len(self._verified) > self._max_tokens or self._length > self._max_length:
            self._evict(next(iter(self._verified)))

    def _evict(self, token: str) -> None:
        del self._verified[token]
        self._length -= len(token)
