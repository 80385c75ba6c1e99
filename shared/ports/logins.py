"""Logins, each continued by one refresh token at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from uuid import UUID

    from shared.domain.account import Account


@dataclass(frozen=True, slots=True)
class Login:
    """A login that a refresh token continues.

    Attributes:
        id: Stays the same while the refresh token changes.
        token_hash: Of the refresh token's secret that is good for one use.
        lifetime_s: How long the login can be continued, from its beginning.
    """

    id: UUID
    account: Account
    token_hash: bytes
    lifetime_s: int


class LoginStore(Protocol):
    """Logins and the hashes of their refresh tokens. Every method raises UnavailableError."""

    async def add(self, login: Login) -> None:
        """Keep a login; the account's oldest beyond a hundred end."""

    async def rotate(self, login_id: UUID, *, spent: bytes, fresh: bytes) -> Account | None:
        """Replace the spent token hash by a fresh one; of several concurrent calls one succeeds.

        Returns:
            The account as it is now. None, and nothing changes, if the login has another hash, has expired
            or ended, or if its account has changed since it began.
        """

    async def end(self, login_id: UUID) -> None:
        """End the login, if it exists: no token continues it any more."""
