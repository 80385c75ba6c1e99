"""Accounts: who may log in, and what a login costs somebody who guesses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from shared.domain.account import USER_NAME, Account, Role
from shared.domain.errors import ConflictError, NotFoundError, TooOftenError
from shared.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from shared.ports import AccountStore

# OWASP's minimum for Argon2id: 19 MiB, two passes, one lane.
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)

# Each holds 19 MiB and a core for about 20 ms; more at a time would starve the requests beside them.
_AT_A_TIME: Final = 2
# A queue of about a second; whoever came later would wait longer than it takes to ask again.
_MAX_WAITING: Final = 100
_RETRY_AFTER_S: Final = 2.0


class Passwords:
    """Hashes and verifies off the event loop, a bounded number at a time, with a bounded queue."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(_AT_A_TIME)
        self._waiting = 0
        self._nobodys_hash = _HASHER.hash("a password that nobody has")

    async def hash(self, password: str) -> str:
        """The password's Argon2id hash in PHC form.

        Raises:
            TooOftenError: Too many wait already.
        """
        await self._take_turn()
        try:
            return await in_thread(_HASHER.hash, password)
        finally:
            self._turn.release()

    async def matches(self, password: str, account: Account | None) -> bool:
        """Whether it is the account's password; no account takes as long as a wrong password.

        Raises:
            TooOftenError: Too many wait already.
        """
        hash_ = account.password_hash if account else self._nobodys_hash
        await self._take_turn()
        try:
            return await in_thread(_verified, hash_, password) and account is not None
        finally:
            self._turn.release()

    async def _take_turn(self) -> None:
        if self._waiting >= _MAX_WAITING:
            raise TooOftenError("Too many logins at a time; try again shortly.", retry_after_s=_RETRY_AFTER_S)
        self._waiting += 1
        try:
            await self._turn.acquire()
        finally:
            self._waiting -= 1


async def create_account(
    name: str,
    password: str,
    roles: Iterable[Role],
    *,
    accounts: AccountStore,
    passwords: Passwords,
) -> Account:
    """Create an account.

    Raises:
        ConflictError: The name is taken, or belonged to an account that was deleted.
        UnavailableError: It may have been created; creating it again tells.
    """
    account = Account(name, await passwords.hash(password), frozenset(roles))
    if not await accounts.add(account):
        raise ConflictError(f"The name {name} is taken, or was, and is not given out again.")
    return account


async def authenticate(
    name: str,
    password: str,
    *,
    accounts: AccountStore,
    passwords: Passwords,
) -> Account | None:
    """The account, if that is its name and its password; None says nothing about which was wrong.

    A hash that was made with other parameters than today's is renewed on the way.
    """
    account = await accounts.find(name) if USER_NAME.fullmatch(name) else None
    if not await passwords.matches(password, account) or account is None:
        return None
    if _HASHER.check_needs_rehash(account.password_hash):
        await accounts.rehash(account, await passwords.hash(password))
    return account


async def change_roles(name: str, roles: Collection[Role], *, accounts: AccountStore) -> None:
    """Give an account other roles; its tokens and logins end.

    Raises:
        NotFoundError: There is no such account.
        ConflictError: It is the last administrator.
    """
    if not USER_NAME.fullmatch(name) or not await accounts.set_roles(name, roles):
        raise no_account(name)


async def change_password(name: str, password: str, *, accounts: AccountStore, passwords: Passwords) -> None:
    """Give an account another password; its tokens and logins end.

    Raises:
        NotFoundError: There is no such account.
    """
    if not USER_NAME.fullmatch(name) or not await accounts.set_password(name, await passwords.hash(password)):
        raise no_account(name)


async def delete_account(name: str, *, accounts: AccountStore) -> None:
    """End an account for ever; its ECGs stay and its name is not given out again.

    Raises:
        NotFoundError: There is no such account.
        ConflictError: It is the last administrator.
    """
    if not USER_NAME.fullmatch(name) or not await accounts.delete(name):
        raise no_account(name)


def no_account(name: str) -> NotFoundError:
    """Why nothing could be done with an account."""
    shown = f" named {name}" if USER_NAME.fullmatch(name) else " of this name"
    return NotFoundError(f"There is no account{shown}.")


def _verified(hash_: str, password: str) -> bool:
    try:
        return _HASHER.verify(hash_, password)
    except (VerificationError, InvalidHashError):
        return False
