"""Storage of accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from shared.domain.account import Account, Role

_NO_TIMES: Final[Mapping[str, datetime]] = {}


class AccountChanges(NamedTuple):
    """Accounts that changed lately.

    Attributes:
        versions: Versions of the accounts that changed or were deleted, or one of whose API keys was revoked,
            by name.
        now_s: The store's time of this query, in seconds since 1970: one clock for all gateways.
        times: When that was, by name; each change of an account has a later one than those before it.
    """

    versions: Mapping[str, int]
    now_s: float
    times: Mapping[str, datetime] = _NO_TIMES


class AccountStore(Protocol):
    """Accounts. Every method raises UnavailableError."""

    async def add(self, account: Account) -> bool:
        """Add the account unless the name is taken or ever was; whether it was added."""

    async def find(self, name: str) -> Account | None:
        """The account of that name; None also when it was deleted."""

    async def page(self, *, limit: int, after: str = "") -> list[Account]:
        """Accounts with names after ``after``, in the order of names, at most ``limit``."""

    async def set_roles(self, name: str, roles: Collection[Role]) -> bool:
        """Set the account's roles and end its tokens and logins; whether the account exists.

        Raises:
            ConflictError: It is the last administrator and would be none.
        """

    async def set_password(self, name: str, password_hash: str) -> bool:
        """Change the password and end the account's tokens and logins; whether the account exists."""

    async def rehash(self, account: Account, password_hash: str) -> None:
        """Store a new hash of the same password, unless the password has changed meanwhile."""

    async def delete(self, name: str) -> bool:
        """Delete the account and end its tokens, logins and API keys; whether it existed. Its ECGs stay.

        Raises:
            ConflictError: It is the last administrator.
        """

    async def recent_changes(self) -> AccountChanges:
        """The accounts that changed within the last three hours, and the store's time.

        That is longer than a token's lifetime, even if a clock was two hours wrong.
        """
