"""Accounts: create, change and authenticate them; how many passwords are hashed at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gateway.limits.fair_semaphore import FairSemaphore, QueueEntry
from shared.domain.account import USER_NAME, Account, Role
from shared.domain.errors import ConflictError, NotFoundError
from shared.runtime.threads import in_thread_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from contextlib import AbstractAsyncContextManager

    from gateway.limits.login_throttle import LoginThrottle
    from shared.ports.accounts import AccountStore

# OWASP's minimum for Argon2id: 19 MiB, two passes, one lane.
_HASHER: Final = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1)

# Each holds 19 MiB and a core for about 20 ms; more at a time would starve the requests beside them.
_AT_A_TIME: Final = 2
# A queue of some seconds, in which only those wait long who are many; those who came later would wait longer
# than it takes to ask again.
_MAX_QUEUED: Final = 256
# Threads of their own: those that all else shares may be busy with bodies of 16 MiB, or wait for a disk.
_THREADS: Final = ThreadPoolExecutor(_AT_A_TIME, thread_name_prefix="argon2")
# Who runs a command, and is alone with that.
_ALONE: Final = QueueEntry()


class Passwords:
    """Hashes and verifies off the event loop, a bounded number at a time, with a bounded and fair queue."""

    def __init__(self) -> None:
        self._semaphore = FairSemaphore(
            _AT_A_TIME,
            max_queued=_MAX_QUEUED,
            refusal="Too many logins at a time; try again shortly.",
        )
        self._nobodys_hash = _HASHER.hash("a password that nobody has")

    async def hash(self, password: str, entry: QueueEntry = _ALONE) -> str:
        """The password's Argon2id hash in PHC form.

        Raises:
            RateLimitedError: Too many wait already.
        """
        async with self.slot(entry):
            return await in_thread_of(_THREADS, _HASHER.hash, password)

    def slot(self, entry: QueueEntry) -> AbstractAsyncContextManager[None]:
        """Hold a place for `matches`.

        Raises:
            RateLimitedError: Too many wait already.
        """
        return self._semaphore.slot(entry)

    async def matches(self, password: str, account: Account | None) -> bool:
        """Whether it is the account's password; no account takes as long as a wrong password.

        To be asked by who holds a place.
        """
        hash_ = account.password_hash if account else self._nobodys_hash
        return await in_thread_of(_THREADS, _verified, hash_, password) and account is not None


async def create_account(
    name: str,
    password: str,
    roles: Iterable[Role],
    *,
    accounts: AccountStore,
    passwords: Passwords,
    entry: QueueEntry = _ALONE,
) -> Account:
    """Create an account.

    Raises:
        ConflictError: The name is taken, or belonged to an account that was deleted.
        UnavailableError: It may have been created; creating it again tells.
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
    passwords: Passwords,
    throttle: LoginThrottle,
) -> Account | None:
    """The account, if that is its name and its password; None says nothing about which was wrong.

    A hash that was made with other parameters than today's is renewed on the way.

    Raises:
        RateLimitedError: There were too many failures from this address, which may be in a pause, or too many
            wait. Only a try for which there was a place counts as one.
    """
    entry = await throttle.check(name, address)
    account = await accounts.find(name) if USER_NAME.fullmatch(name) else None
    async with passwords.slot(entry):
        await throttle.count_attempt(name, address)
        is_right = await passwords.matches(password, account)
    if not is_right or account is None:
        return None
    await throttle.record_success(name, address)
    if _HASHER.check_needs_rehash(account.password_hash):
        await accounts.rehash(account, await passwords.hash(password, entry))
    return account


async def change_roles(name: str, roles: Collection[Role], *, accounts: AccountStore) -> None:
    """Give an account other roles; its tokens and logins end.

    Raises:
        NotFoundError: There is no such account.
        ConflictError: It is the last administrator.
    """
    if not USER_NAME.fullmatch(name) or not await accounts.set_roles(name, roles):
        raise no_account(name)


async def change_password(
    name: str,
    password: str,
    *,
    accounts: AccountStore,
    passwords: Passwords,
    entry: QueueEntry = _ALONE,
) -> None:
    """Give an account another password; its tokens and logins end.

    Raises:
        NotFoundError: There is no such account.
    """
    if not USER_NAME.fullmatch(name):
        raise no_account(name)
    if not await accounts.set_password(name, await passwords.hash(password, entry)):
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
