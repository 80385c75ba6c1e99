"""Revocations: access tokens end early when their account changes, and API keys are looked up again.

A token carries its account's version. The accounts that changed within the longest lifetime of a token are
few, usually none; the list is fetched every few seconds, so that no request needs a query. The same query
returns PostgreSQL's time, by which tokens are judged.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from shared.domain.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from datetime import datetime

    from gateway.auth.database_clock import DatabaseClock
    from shared.ports.accounts import AccountStore

# Long enough for a failover; nearly every request needs PostgreSQL anyway.
_MAX_STALENESS_S: Final = 30.0


class Revocations:
    """Knows, with a bounded delay, which versions of accounts are revoked."""

    def __init__(self, accounts: AccountStore, clock: DatabaseClock) -> None:
        self._accounts = accounts
        self._clock = clock
        self._versions: Mapping[str, int] = {}
        self._times: Mapping[str, datetime] = {}
        self._refreshed_at: float | None = None
        self._failure = ""

    def is_revoked(self, name: str, version: int) -> bool:
        """Whether the account has changed, or was deleted, since it had this version.

        Raises:
            UnavailableError: The list is too old to decide: PostgreSQL has been unavailable.
        """
        self.check()
        return self._versions.get(name, version) > version

    def has_changed_since(self, name: str, changed_at: datetime | None) -> bool:
        """Whether the account has changed, or was deleted, or a key of it revoked, after this time.

        Args:
            name: The account's.
            changed_at: Its last change that is known; None for none.

        Raises:
            UnavailableError: The list is too old to decide: PostgreSQL has been unavailable.
        """
        self.check()
        last = self._times.get(name)
        return last is not None and (changed_at is None or last > changed_at)

    def check(self) -> None:
        """Return if tokens can be judged: the list and PostgreSQL's time are known, and recent enough.

        Raises:
            UnavailableError: They are not, for this reason.
        """
        if self._refreshed_at is None or time.monotonic() - self._refreshed_at > _MAX_STALENESS_S:
            raise UnavailableError(
                f"whether tokens have ended is not known; {self._failure or 'it was not looked up yet'}",
                is_logged=True,  # readiness, which includes this check, logs it
            )

    async def refresh(self) -> None:
        """Fetch the list once; while PostgreSQL is unavailable the old one stays."""
        started = time.monotonic()
        try:
            self._versions, now_s, self._times = await self._accounts.recent_changes()
        except UnavailableError as error:
            self._failure = str(error)
        else:
            self._clock.synchronize(now_s, asked_s=started, answered_s=time.monotonic())
            self._refreshed_at = started

    async def run(self, interval_s: float) -> None:
        """Refresh forever."""
        while True:
            await asyncio.sleep(interval_s)
            await self.refresh()


@asynccontextmanager
async def open_revocations(
    accounts: AccountStore, clock: DatabaseClock, *, within_s: float
) -> AsyncIterator[Revocations]:
    """Yield revocations that are known within ``within_s`` seconds while PostgreSQL is available.

    Each refresh synchronizes the clock.
    """
    revocations = Revocations(accounts, clock)
    await revocations.refresh()
    async with asyncio.TaskGroup() as tasks:
        # The other half is for the query.
        refresh_task = tasks.create_task(revocations.run(within_s / 2))
        yield revocations
        refresh_task.cancel()
