"""Create, change, delete and authenticate accounts; hash passwords with bounded concurrency."""

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

# Each takes 19 MiB and a core for about 20 ms; more at a time would starve other requests.
_MAX_CONCURRENT_HASHES: Final = 2
# A queue of some seconds; in a longer one a login would wait longer than a retry takes.
_MAX_QUEUED: Final = 256
# A separate pool: threads of the shared one may be busy with bodies of 16 MiB, or wait for a disk.
_THREADS: Final = ThreadPoolExecutor(_MAX_CONCURRENT_HASHES, thread_name_prefix="argon2")
# For commands, which queue with nothing else.
UNSHARED_ENTRY: Final = QueueEntry()


class PasswordHashing:
    """Hashes and verifies passwords in threads, a bounded number at a time, with a bounded fair queue."""

    def __init__(self) -> None:
        self._semaphore = FairSemaphore(
            _MAX_CONCURRENT_HASHES,
            max_queued=_MAX_QUEUED,
            refusal="Too many logins at a time; try again shortly.",
        )
        self._dummy_hash = _HASHER.hash("a password that nobody has")

    async def hash(self, password: str, entry: QueueEntry = UNSHARED_ENTRY) -> str:
        """The password's Argon2id hash in PHC form.

        Raises:
            RateLimitedError: Too many wait already.
        """
        async with self.slot(entry):
            return await in_thread_of(_THREADS, _HASHER.hash, password)

    def slot(self, entry: QueueEntry) -> AbstractAsyncContextManager[None]:
        """Hold a slot for `matches`.

        Raises:
            RateLimitedError: Too many wait already.
        """
        return self._semaphore.slot(entry)

    async def matches(self, password: str, account: Account | None) -> bool:
        """Whether it is the account's password; without an account this takes as long as a wrong password.

        The caller must hold a `slot`.
        """
        hash_ = account.password_hash if account else self._dummy_hash
        return await in_thread_of(_THREADS, _verify, hash_, password) and account is not None

    def needs_rehash(self, account: Account) -> bool:
        """Whether the account's hash was made with other parameters than today's."""
        return _HASHER.check_needs_rehash(account.password_hash)


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


def _verify(hash_: str, password: str) -> bool:
    try:
        return _HASHER.verify(hash_, password)
    except (VerificationError, InvalidHashError):
        return False
