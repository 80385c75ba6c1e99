"""The feature of events: what happened to ECGs, read again and followed."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.contract.feature import Feature
from gateway.events.following import open_log_watch
from gateway.events.handlers import EventHandlers
from gateway.events.routes import EVENT_ROUTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.ports.event_log import EventLog


@asynccontextmanager
async def open_events(log: EventLog) -> AsyncIterator[Feature]:
    """Yield the feature; streams end with the context, or when it begins to drain."""
    async with open_log_watch(log) as watch:
        yield Feature(
            routes=EVENT_ROUTES, handlers=EventHandlers(log=log, watch=watch), begin_drain=watch.end
        )
