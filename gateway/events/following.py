"""Follow the event log: everybody who follows waits for the same look at its end."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from shared.domain.errors import RateLimitedError, UnavailableError
from shared.runtime.outages import Outages
from shared.runtime.supervision import background_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from shared.ports.event_log import EventLog

# A look costs PostgreSQL 0.1 ms, and a follower hears so much later at the most.
_LOOK_EVERY_S: Final = 0.5
_LOOK_AGAIN_AFTER_FAILURE_S: Final = 2.0
# Each takes a connection for as long as it follows.
_MOST_FOLLOWERS: Final = 256
_MOST_OF_A_CALLER: Final = 16
_RETRY_AFTER_S: Final = 10.0


class LogWatch:
    """Tells followers that there is more in the log.

    Args:
        log: Looked at twice a second while somebody follows it.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._followers: dict[str, int] = {}
        self._is_followed = asyncio.Event()
        self._has_more = asyncio.Event()
        self._newest = -1
        self.is_ended = False

    async def run(self) -> None:
        """Look forever, while anybody follows."""
        outages = Outages("the event log")
        while True:
            await self._is_followed.wait()
            pause_s = _LOOK_EVERY_S
            try:
                newest = await self._log.newest()
                outages.record_success()
            except UnavailableError as error:
                pause_s = _LOOK_AGAIN_AFTER_FAILURE_S
                if not error.is_logged:
                    outages.record_failure(str(error))
            else:
                if newest != self._newest:
                    self._newest = newest
                    self._wake()
            await asyncio.sleep(pause_s)

    def check_capacity(self, caller: str) -> None:
        """Return if this caller may follow once more.

        Raises:
            RateLimitedError: The caller follows too often.
            UnavailableError: Too many follow.
        """
        if self._followers.get(caller, 0) >= _MOST_OF_A_CALLER:
            raise RateLimitedError(
                f"{_MOST_OF_A_CALLER} streams of yours are open.", retry_after_s=_RETRY_AFTER_S
            )
        if sum(self._followers.values()) >= _MOST_FOLLOWERS:
            raise UnavailableError(
                "too many followers", for_sender=f"{_MOST_FOLLOWERS} streams are open.", is_logged=True
            )

    @contextmanager
    def following(self, caller: str) -> Iterator[None]:
        """Count a follower while the context is open."""
        self._followers[caller] = self._followers.get(caller, 0) + 1
        self._is_followed.set()
        try:
            yield
        finally:
            self._followers[caller] -= 1
            if not self._followers[caller]:
                del self._followers[caller]
            if not self._followers:
                self._is_followed.clear()

    def next_more(self) -> asyncio.Event:
        """Set when there is more than now; take it before reading, and wait for it after that."""
        return self._has_more

    def end(self) -> None:
        """End all who follow, and those who come later."""
        self.is_ended = True
        self._wake()

    def _wake(self) -> None:
        self._has_more.set()
        self._has_more = asyncio.Event()


async def wait_for(event: asyncio.Event, *, within_s: float) -> None:
    """Return when it is set, or after so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await event.wait()


@asynccontextmanager
async def open_log_watch(log: EventLog) -> AsyncIterator[LogWatch]:
    """Yield a watch that looks while the context is open."""
    watch = LogWatch(log)
    async with background_task(watch.run, "the watch of the event log"):
        try:
            yield watch
        finally:
            watch.end()
