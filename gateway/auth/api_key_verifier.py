"""Verify API keys: each is looked up once, and again after its account has changed."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.auth.access_tokens import InvalidTokenError
from gateway.http.caller import Caller
from shared.domain.api_key import hash_secret, is_secret
from shared.domain.errors import UnavailableError
from shared.runtime.supervision import background_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from gateway.auth.revocations import Revocations
    from shared.ports.api_keys import ApiKeyStore

# Each takes 600 bytes.
_MAX_KNOWN: Final = 16_384
# `AccountStore.recent_changes` tells of a change for three hours; a key that is not used for longer than this
# is looked up again, so that no change is missed, even if a clock was two hours wrong.
_KNOWN_FOR_S: Final = 900.0
# A device whose key was revoked goes on sending it.
_MAX_REFUSED: Final = 1024
_REFUSED_FOR_S: Final = 60.0
# Made-up keys can take no more connections than this from requests.
_MAX_CONCURRENT_LOOKUPS: Final = 2
# The time of the last use is for people, who ask whether a key is still needed.
_RECORD_EVERY_S: Final = 60.0


class _KnownKey(NamedTuple):
    """A key as it was looked up.

    Attributes:
        until: When it expires or is to be looked up again, in seconds since 1970.
        changed_at: The last change of its account that it was looked up after.
    """

    caller: Caller
    key_id: UUID
    until: float
    changed_at: datetime | None


class ApiKeyVerifier:
    """Verifies API keys without a query for each request.

    Keys are known by their hashes: no secret stays in memory.
    """

    def __init__(self, keys: ApiKeyStore, revocations: Revocations) -> None:
        self._keys = keys
        self._revocations = revocations
        self._known: dict[bytes, _KnownKey] = {}
        self._refused_until: dict[bytes, float] = {}
        self._uses: dict[UUID, float] = {}
        self._times_forgotten = 0
        self._lookups = asyncio.Semaphore(_MAX_CONCURRENT_LOOKUPS)

    async def verify(self, secret: str, *, now: float) -> Caller:
        """The caller that a key proves, with the roles that it was given and its account still has.

        Args:
            secret: The key as it was sent.
            now: Seconds since 1970.

        Raises:
            InvalidTokenError: There is no such key, or it has expired.
            UnavailableError: This can't be decided at present.
        """
        if not is_secret(secret):
            raise InvalidTokenError("it is no API key, but begins like one")
        secret_hash = hash_secret(secret)
        known = self._known.get(secret_hash)
        if (
            known is None
            or known.until <= now
            or self._revocations.has_changed_since(known.caller.name, known.changed_at)
        ):
            known = await self._look_up(secret_hash, now)
        self._uses[known.key_id] = now
        return known.caller

    def forget_keys_of(self, account: str) -> None:
        """Look the account's keys up again before they are taken: at once, and not when others hear of it."""
        self._times_forgotten += 1
        for secret_hash in [each for each, known in self._known.items() if known.caller.name == account]:
            del self._known[secret_hash]

    async def record_uses(self) -> None:
        """Record when keys were used last; while PostgreSQL is unavailable, it is kept for the next time."""
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            times = {key_id: datetime.fromtimestamp(used, UTC) for key_id, used in uses.items()}
            await self._keys.record_uses(times)
        except UnavailableError:
            self._uses = uses | self._uses

    async def run(self) -> None:
        """Record uses forever."""
        while True:
            await asyncio.sleep(_RECORD_EVERY_S)
            await self.record_uses()

    async def _look_up(self, secret_hash: bytes, now: float) -> _KnownKey:
        self._known.pop(secret_hash, None)
        if self._refused_until.get(secret_hash, now) > now:
            raise InvalidTokenError("it is an API key that was refused a short while ago")
        self._revocations.check()  # by which changes after the look-up will be known
        async with self._lookups:
            times_forgotten = self._times_forgotten
            found = await self._keys.find(secret_hash)
        if found is None:
            self._refuse(secret_hash, now)
            raise InvalidTokenError("it is an API key that does not exist, or no longer")
        key = found.key
        expires = key.expires_at.timestamp() if key.expires_at else now + _KNOWN_FOR_S
        if expires <= now:
            self._refuse(secret_hash, now)
            raise InvalidTokenError("it is an API key that has expired")
        caller = Caller(key.account, key.roles, key_id=key.id)
        known = _KnownKey(caller, key.id, min(expires, now + _KNOWN_FOR_S), found.changed_at)
        # A key that was revoked here meanwhile may have been read before that.
        if times_forgotten == self._times_forgotten:
            self._known[secret_hash] = known
            _evict_oldest(self._known, _MAX_KNOWN)
        return known

    def _refuse(self, secret_hash: bytes, now: float) -> None:
        self._refused_until.pop(secret_hash, None)
        self._refused_until[secret_hash] = now + _REFUSED_FOR_S
        _evict_oldest(self._refused_until, _MAX_REFUSED)


def _evict_oldest(cache: dict[bytes, _KnownKey] | dict[bytes, float], most: int) -> None:
    while len(cache) > most:
        del cache[next(iter(cache))]


@asynccontextmanager
async def open_api_key_verifier(keys: ApiKeyStore, revocations: Revocations) -> AsyncIterator[ApiKeyVerifier]:
    """Yield it; uses of keys are recorded while the context is open, and when it closes."""
    verifier = ApiKeyVerifier(keys, revocations)
    async with background_task(verifier.run, "recording uses of API keys"):
        yield verifier
    with suppress(UnavailableError):
        await verifier.record_uses()
