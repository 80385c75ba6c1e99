"""Keep the event log for a time: a place ready for each day that comes, and old days forgotten."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from shared.domain.errors import UnavailableError
from shared.observability.logs import Logger
from shared.runtime.outages import Outages
from shared.runtime.supervision import background_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.ports.event_log import EventLogDays

# Two days are ready ahead, and each try takes a lock for a moment.
_EVERY_S: Final = 600.0

_log = Logger(__name__)


@asynccontextmanager
async def open_event_log_days(log: EventLogDays, *, days: int) -> AsyncIterator[None]:
    """Keep the log for so many days while the context is open; any number of processes may."""
    async with background_task(partial(_keep, log, days), "the days of the event log"):
        yield


async def _keep(log: EventLogDays, days: int) -> None:
    """Extend the log, and forget what is older, forever."""
    outages = Outages("the days of the event log")
    while True:
        try:
            if added := await log.extend():
                _log.info("days were added to the event log", count=added)
            while await log.forget(days):
                _log.info("a day of the event log was forgotten")
            outages.record_success()
        except UnavailableError as error:
            if not error.is_logged:
                outages.record_failure(str(error))
        await asyncio.sleep(_EVERY_S)
