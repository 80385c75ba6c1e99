"""Hash and verify passwords with bounded concurrency."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gateway.limits.fair_semaphore import FairSemaphore, QueueEntry
from shared.runtime.threads import in_thread_of_pool

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from shared.domain.account import Account

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
        self._dummy_hash = _dummy_hash()

    async def hash(self, password: str, entry: QueueEntry = UNSHARED_ENTRY) -> str:
        """The password's Argon2id hash in PHC form.

        Raises:
            RateLimitedError: Too many wait already.
        """
        async with self.slot(entry):
            return await in_thread_of_pool(_THREADS, _HASHER.hash, password)

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
        return await in_thread_of_pool(_THREADS, _verify, hash_, password) and account is not None

    def needs_rehash(self, account: Account) -> bool:
        """Whether the account's hash was made with other parameters than today's."""
        return _HASHER.check_needs_rehash(account.password_hash)


@cache
def _dummy_hash() -> str:
    return _HASHER.hash("a password that nobody has")


def _verify(hash_: str, password: str) -> bool:
    try:
        return _HASHER.verify(hash_, password)
    except (VerificationError, InvalidHashError):
        return False
