"""The overview as server-sent events: read every two seconds while anybody watches, once for all who do."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from gateway.http.responses import server_sent_event
from shared.domain.errors import UnavailableError
from shared.observability.logs import Logger
from shared.runtime.supervision import background_task

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping

_EVERY_S: Final = 2.0
# So viewers hear within 10 s that PostgreSQL does not answer. A reading is given up after a longer time.
TOLD_WITHIN_S: Final = 5.0
NO_ANSWER: Final = "PostgreSQL does not answer in time."
# An operator has a page or two open. Each takes a connection for as long as it is.
_MOST_VIEWERS: Final = 64

_log = Logger(__name__)


class OverviewFeed:
    """The latest overview for each viewer.

    Args:
        read: Reads the overview's document.
    """

    def __init__(self, read: Callable[[], Awaitable[Mapping[str, object]]]) -> None:
        self._read = read
        self._viewers = 0
        self._is_watched = asyncio.Event()
        self._has_changed = asyncio.Event()
        self._latest = b""
        self._is_ended = False

    async def run(self) -> None:
        """Read forever, while there are viewers."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._is_watched.wait()
                reading = tasks.create_task(self._event())
                while not (await asyncio.wait({reading}, timeout=TOLD_WITHIN_S))[0]:
                    self._tell(_unavailable(NO_ANSWER))
                self._tell(reading.result())
                await asyncio.sleep(_EVERY_S)

    def check_capacity(self) -> None:
        """Return if there may be another viewer.

        Raises:
            UnavailableError: There are too many.
        """
        if self._viewers >= _MOST_VIEWERS:
            raise UnavailableError(
                "too many viewers", for_sender=f"{_MOST_VIEWERS} streams are open.", is_logged=True
            )

    async def events(self) -> AsyncGenerator[bytes, None]:
        """Every overview that is read from now on; a slow viewer misses some."""
        self._viewers += 1
        self._is_watched.set()
        try:
            while not self._is_ended:
                await self._has_changed.wait()
                if not self._is_ended:
                    yield self._latest
        finally:
            self._viewers -= 1
            if not self._viewers:
                self._is_watched.clear()

    def end(self) -> None:
        """End all streams, and those that begin later."""
        self._is_ended = True
        self._tell(self._latest)

    def _tell(self, event: bytes) -> None:
        self._latest = event
        self._has_changed.set()
        self._has_changed = asyncio.Event()

    async def _event(self) -> bytes:
        try:
            return server_sent_event("overview", await self._read())
        except UnavailableError as error:
            return _unavailable(error.for_sender or str(error))
        except Exception as error:  # noqa: BLE001 - the gateway must not end for it
            _log.error("the overview could not be read", exc_info=error)
            return _unavailable("Something in Isoline failed.")


def _unavailable(reason: str) -> bytes:
    return server_sent_event("unavailable", {"reason": reason})


@asynccontextmanager
async def open_overview_feed(
    read: Callable[[], Awaitable[Mapping[str, object]]],
) -> AsyncIterator[OverviewFeed]:
    """Yield a feed that reads while the context is open."""
    feed = OverviewFeed(read)
    async with background_task(feed.run, "the feed of overviews"):
        try:
            yield feed
        finally:
            feed.end()
