"""Logins, and what continues them."""

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
    """Logins and what continues them. Every method raises UnavailableError."""

    async def add(self, login: Login) -> None:
        """Keep a login; the account's oldest beyond a hundred end."""

    async def turn(self, login_id: UUID, *, spent: bytes, fresh: bytes) -> Account | None:
        """Spend one token hash for the next; of several who try at once, one succeeds.

        Whatever does not fit ends the login: a hash that was spent before, an account that has changed
        since, or time.

        Returns:
            The account as it is now; None when the login has ended.
        """

    async def end(self, login_id: UUID) -> None:
        """No token continues this login any more, if there ever was one."""
