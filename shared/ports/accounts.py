"""Accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from shared.domain.account import Account, Role


class AccountChanges(NamedTuple):
    """What became of accounts lately.

    Attributes:
        versions: Those of the accounts that changed or ended, by name.
        now_s: The store's time as it answered, in seconds since 1970: one clock for all who share the store.
    """

    versions: Mapping[str, int]
    now_s: float


class AccountStore(Protocol):
    """Accounts. Every method raises UnavailableError."""

    async def add(self, account: Account) -> bool:
        """Keep the account unless the name is taken or ever was; whether it was kept."""

    async def find(self, name: str) -> Account | None:
        """The account of that name; None also when it was deleted."""

    async def page(self, *, limit: int, after: str = "") -> list[Account]:
        """Accounts in the order of their names, those behind ``after``, at most ``limit``."""

    async def set_roles(self, name: str, roles: Collection[Role]) -> bool:
        """Give the account these roles and end its tokens and logins; whether there is such an account.

        Raises:
            ConflictError: It is the last administrator and would be none.
        """

    async def set_password(self, name: str, password_hash: str) -> bool:
        """Change the password and end the account's tokens and logins; whether there is such an account."""

    async def rehash(self, account: Account, password_hash: str) -> None:
        """Keep a new hash of the same password, unless the password has changed meanwhile."""

    async def delete(self, name: str) -> bool:
        """End the account, its tokens and logins for ever; whether there was one. Its ECGs stay.

        Raises:
            ConflictError: It is the last administrator.
        """

    async def recent_changes(self) -> AccountChanges:
        """The accounts that changed or ended within the last three hours, and what time it is there.

        That is longer than a token lives, also where the clock was two hours wrong.
        """
