"""The backlog limit: submissions are refused while too many ECGs are queued."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from shared.domain.errors import UnavailableError
from shared.runtime.supervision import background_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.ports.ecgs import EcgStore

_MEASURE_EVERY_S: Final = 1.0


class Backlog:
    """Knows, a second or so late, whether the limit of queued ECGs is reached."""

    def __init__(self, store: EcgStore, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._is_full = False
        self._failure: UnavailableError | None = None

    def check(self) -> None:
        """Return if another ECG may be queued.

        Raises:
            UnavailableError: The limit is reached; the processors have to catch up first.
        """
        if self._is_full:
            raise self._limit_reached(is_logged=True)  # readiness, which includes this check, logs it

    def check_readiness(self) -> None:
        """The check of readiness: as `check`, and it fails too if the last measurement did.

        Raises:
            UnavailableError: The limit is reached, or the backlog could not be measured, for this reason.
        """
        if self._is_full:
            raise self._limit_reached(is_logged=False)
        if self._failure is not None:
            raise self._failure.copy()

    def _limit_reached(self, *, is_logged: bool) -> UnavailableError:
        return UnavailableError(
            f"the backlog limit of {self._limit} queued ECGs is reached",
            for_sender=f"As many ECGs are queued as may be, {self._limit}: their analysis is behind.",
            is_logged=is_logged,
        )

    async def run(self) -> None:
        """Measure forever: one query a second, however many submissions there are."""
        while True:
            try:
                self._is_full = await self._store.count_queued(self._limit) >= self._limit
                self._failure = None
            except UnavailableError as error:
                self._failure = error.copy()
            await asyncio.sleep(_MEASURE_EVERY_S)


@asynccontextmanager
async def open_backlog(store: EcgStore, *, limit: int) -> AsyncIterator[Backlog]:
    """Yield a backlog that is measured for as long as the context is open."""
    backlog = Backlog(store, limit)
    async with background_task(backlog.run, "measuring the backlog"):
        yield backlog
