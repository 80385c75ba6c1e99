"""Create, change, delete and authenticate accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.accounts.password_hashing import UNSHARED_ENTRY
from shared.domain.account import USER_NAME, Account, Role
from shared.domain.errors import ConflictError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from gateway.accounts.password_hashing import PasswordHashing
    from gateway.limits.fair_semaphore import QueueEntry
    from gateway.limits.login_throttle import LoginThrottle
    from shared.ports.accounts import AccountStore


async def create_account(
    name: str,
    password: str,
    roles: Iterable[Role],
    *,
    accounts: AccountStore,
    passwords: PasswordHashing,
    entry: QueueEntry = UNSHARED_ENTRY,
) -> Account:
    """Create an account.

    Raises:
        ConflictError: The name is taken, or belonged to an account that was deleted.
        UnavailableError: It may have been created; a second attempt tells whether it was.
    """
    account = Account(name, await passwords.hash(password, entry), frozenset(roles))
    if not await accounts.add(account):
        raise ConflictError(f"The name {name} is taken, or was, and is not given out again.")
    return account


async def authenticate(
    name: str,
    password: str,
    *,
    address: str,
    accounts: AccountStore,
    passwords: PasswordHashing,
    throttle: LoginThrottle,
) -> Account | None:
    """The account of this name and password; None does not tell which was wrong.

    A hash with outdated parameters is renewed.

    Raises:
        RateLimitedError: The backoff after failures at this address is not over, or the queue is full.
            Attempts without a slot are not counted.
    """
    entry = await throttle.check(name, address)
    account = await accounts.find(name) if USER_NAME.fullmatch(name) else None
    async with passwords.slot(entry):
        await throttle.count_attempt(name, address)
        is_correct = await passwords.matches(password, account)
    if not is_correct or account is None:
        return None
    await throttle.record_success(name, address)
    if passwords.needs_rehash(account):
        await accounts.rehash(account, await passwords.hash(password, entry))
    return account


async def change_roles(name: str, roles: Collection[Role], *, accounts: AccountStore) -> None:
    """Change an account's roles; its tokens and logins end.

    Raises:
        NotFoundError: There is no such account.
        ConflictError: It is the last administrator.
    """
    if not USER_NAME.fullmatch(name) or not await accounts.set_roles(name, roles):
        raise account_not_found(name)


async def change_password(
    name: str,
    password: str,
    *,
    accounts: AccountStore,
    passwords: PasswordHashing,
    entry: QueueEntry = UNSHARED_ENTRY,
) -> None:
    """Change an account's password; its tokens and logins end.

    Raises:
        NotFoundError: There is no such account.
    """
    if not USER_NAME.fullmatch(name):
        raise account_not_found(name)
    if not await accounts.set_password(name, await passwords.hash(password, entry)):
        raise account_not_found(name)


async def delete_account(name: str, *, accounts: AccountStore) -> None:
    """Delete an account; its ECGs stay and its name is never given out again.

    Raises:
        NotFoundError: There is no such account.
        ConflictError: It is the last administrator.
    """
    if not USER_NAME.fullmatch(name) or not await accounts.delete(name):
        raise account_not_found(name)


def account_not_found(name: str) -> NotFoundError:
    """The error for a name that no account has."""
    shown = f" named {name}" if USER_NAME.fullmatch(name) else " of this name"
    return NotFoundError(f"There is no account{shown}.")
