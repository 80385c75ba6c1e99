"""Storage of API keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from shared.domain.account import Role
    from shared.domain.api_key import ApiKey


class NewApiKey(NamedTuple):
    """An API key to keep.

    Attributes:
        lifetime_s: Seconds until it expires; None if it does not.
    """

    id: UUID
    account: str
    name: str
    prefix: str
    secret_hash: bytes
    roles: frozenset[Role]
    lifetime_s: int | None


class FoundApiKey(NamedTuple):
    """An API key, and the state of its account with which it was read.

    Attributes:
        changed_at: When the account or its keys last changed; None if they never did.
    """

    key: ApiKey
    changed_at: datetime | None


class ApiKeyStore(Protocol):
    """API keys and the hashes of their secrets. Every method raises UnavailableError."""

    async def add(self, new: NewApiKey, *, limit: int) -> ApiKey | None:
        """Keep a key; None if its account has ``limit`` keys already, expired ones among them."""

    async def find(self, secret_hash: bytes) -> FoundApiKey | None:
        """The key with this secret, expired or not; None also if its account was deleted."""

    async def keys_of(self, account: str) -> list[ApiKey]:
        """All keys of an account, expired or not, the newest first."""

    async def revoke(self, key_id: UUID, *, account: str | None) -> str | None:
        """End a key, and note that its account has changed.

        Args:
            key_id: The key's.
            account: Its account; None for whichever it is.

        Returns:
            The name of its account; None if there is no such key.
        """

    async def record_uses(self, uses: Mapping[UUID, datetime]) -> None:
        """Note when keys were used last, by their ids; those that were revoked meanwhile are skipped."""
