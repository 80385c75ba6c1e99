"""Accounts: who may log in, and what a login costs somebody who guesses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from shared.domain.account import USER_NAME, Account, Role
from shared.domain.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.ports import AccountStore

# OWASP's minimum for Argon2id: 19 MiB, two passes, one lane.
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)

# Each holds 19 MiB and a core for about 20 ms; more at a time would starve the requests beside them.
_AT_A_TIME: Final = 2


class Passwords:
    """Hashes and verifies off the event loop, a bounded number at a time."""

    def __init__(self) -> None:
        self._turn = asyncio.Semaphore(_AT_A_TIME)
        self._nobodys_hash = _HASHER.hash("a password that nobody has")

    async def hash(self, password: str) -> str:
        """The password's Argon2id hash in PHC form."""
        async with self._turn:
            return await asyncio.to_thread(_HASHER.hash, password)

    async def matches(self, password: str, account: Account | None) -> bool:
        """Whether it is the account's password; no account takes as long as a wrong password."""
        hash_ = account.password_hash if account else self._nobodys_hash
        async with self._turn:
            return await asyncio.to_thread(_verified, hash_, password) and account is not None


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
        ConflictError: The name is taken.
        UnavailableError: It may have been created; creating it again tells.
    """
    account = Account(name, await passwords.hash(password), frozenset(roles))
    if not await accounts.add(account):
        raise ConflictError(f"There is an account named {name} already.")
    return account


async def authenticate(
    name: str,
    password: str,
    *,
    accounts: AccountStore,
    passwords: Passwords,
) -> Account | None:
    """The account, if that is its name and its password; None says nothing about which was wrong."""
    account = await accounts.find(name) if USER_NAME.fullmatch(name) else None
    return account if await passwords.matches(password, account) else None


def _verified(hash_: str, password: str) -> bool:
    try:
        return _HASHER.verify(hash_, password)
    except (VerificationError, InvalidHashError):
        return False
