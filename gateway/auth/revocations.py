"""Which access tokens have ended before their time: those of accounts that changed since.

A token carries its account's version. The accounts that changed within the longest life of a token are few,
usually none; they are asked for every few seconds, so that no request has to ask. With them comes the time of
PostgreSQL, by which tokens begin and end: what changed while a token lives is in the list.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from shared.domain.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gateway.auth.database_clock import DatabaseClock
    from shared.ports.accounts import AccountStore

# Long enough for a failover; nearly every request needs PostgreSQL anyway.
_BLIND_AT_MOST_S: Final = 30.0


class Revocations:
    """Knows within a bounded time which versions of accounts are past."""

    def __init__(self, accounts: AccountStore, clock: DatabaseClock) -> None:
        self._accounts = accounts
        self._clock = clock
        self._versions: Mapping[str, int] = {}
        self._looked_at: float | None = None
        self._failure = ""

    def is_past(self, name: str, version: int) -> bool:
        """Whether the account has changed or ended since it had this version.

        Raises:
            UnavailableError: PostgreSQL has been away for so long that nobody could tell.
        """
        self.check()
        return self._versions.get(name, version) > version

    def check(self) -> None:
        """Return if tokens can be judged: what changed and PostgreSQL's time are known, and not too old.

        Raises:
            UnavailableError: They are not, for this reason.
        """
        if self._looked_at is None or time.monotonic() - self._looked_at > _BLIND_AT_MOST_S:
            raise UnavailableError(
                f"whether tokens have ended is not known; {self._failure or 'it was not looked up yet'}",
                is_logged=True,  # by readiness, of which this is a part
            )

    async def look(self) -> None:
        """Ask once; while PostgreSQL is away what is known stays."""
        begun = time.monotonic()
        try:
            self._versions, now_s = await self._accounts.recent_changes()
        except UnavailableError as error:
            self._failure = str(error)
        else:
            self._clock.set(now_s, asked_s=begun, answered_s=time.monotonic())
            self._looked_at = begun

    async def watch(self, interval_s: float) -> None:
        """Ask forever."""
        while True:
            await asyncio.sleep(interval_s)
            await self.look()


@asynccontextmanager
async def open_revocations(
    accounts: AccountStore, clock: DatabaseClock, *, within_s: float
) -> AsyncIterator[Revocations]:
    """Yield revocations that are known ``within_s`` seconds after they happened, while PostgreSQL answers.

    The clock is set with each look.
    """
    revocations = Revocations(accounts, clock)
    await revocations.look()
    async with asyncio.TaskGroup() as tasks:
        # The other half is for the query itself.
        watch = tasks.create_task(revocations.watch(within_s / 2))
        yield revocations
        watch.cancel()
