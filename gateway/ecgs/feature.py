"""The feature of ECGs: submit, read, list and erase them."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.contract.feature import Feature
from gateway.ecgs.backlog import open_backlog
from gateway.ecgs.handlers import EcgHandlers
from gateway.ecgs.result_cache import ResultCache
from gateway.ecgs.result_waiter import open_result_waiter
from gateway.ecgs.routes import ECG_ROUTES
from gateway.ecgs.submission_batcher import open_submission_batcher
from gateway.formats.registry import FormatRegistry
from gateway.formats.spool import SpoolDirectory
from shared.runtime.health import HealthPart, sync_check

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.auth.database_clock import DatabaseClock
    from shared.ports.broker import Publisher
    from shared.ports.ecgs import EcgStore, RecordingStore
    from shared.ports.event_log import EventLog
    from shared.ports.event_source import EventSource
    from shared.ports.outbox import Outbox
    from shared.ports.owned_ecgs import OwnedEcgs
    from shared.runtime.settings import GatewayOnlySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class EcgPorts:
    """The ports to storage and broker of ECGs and their events."""

    store: EcgStore
    recordings: RecordingStore
    owned_ecgs: OwnedEcgs
    outbox: Outbox
    publisher: Publisher
    event_source: EventSource
    event_log: EventLog


@asynccontextmanager
async def open_ecgs(
    settings: GatewayOnlySettings, *, ports: EcgPorts, clock: DatabaseClock
) -> AsyncIterator[Feature]:
    """Yield the feature; it takes submissions for as long as the context is open.

    Raises:
        ConfigurationError: There is nowhere to spool to.
    """
    spool_directory = _spool_directory(settings)
    async with (
        open_result_waiter(ports.store) as waiter,
        open_submission_batcher(
            store=ports.store,
            publisher=ports.publisher,
            event_source=ports.event_source,
            publish_timeout_s=settings.publish_timeout_s,
        ) as batcher,
        open_backlog(ports.store, limit=settings.max_backlog) as backlog,
    ):
        yield Feature(
            routes=ECG_ROUTES,
            handlers=EcgHandlers(
                batcher=batcher,
                recordings=ports.recordings,
                formats=FormatRegistry(settings, spool_directory),
                owned_ecgs=ports.owned_ecgs,
                outbox=ports.outbox,
                publisher=ports.publisher,
                event_source=ports.event_source,
                backlog=backlog,
                result_cache=ResultCache(waiter, max_bytes=settings.result_cache_bytes),
                clock=clock,
                settings=settings,
            ),
            health_parts={
                "backlog": HealthPart(
                    check=sync_check(backlog.check_readiness),
                    impact=(
                        "New ECGs are answered with 503 while the backlog is at its limit, "
                        "or was when last known."
                    ),
                    fails_after_s=math.inf,
                    is_in_memory=True,
                    is_logged=False,
                ),
                "spool": HealthPart(
                    check=spool_directory.check_usable,
                    impact=(
                        "ECGs longer than JSON may have are answered with 503, all or those that the disk "
                        "has no room for; others are taken."
                    ),
                    fails_after_s=math.inf,
                ),
                "waiting": HealthPart(
                    check=sync_check(waiter.check),
                    impact="Requests that wait for a result (`?wait=`) are told late that it is there.",
                    fails_after_s=math.inf,
                    is_in_memory=True,
                    is_logged=False,
                ),
            },
            begin_drain=waiter.end_waits,  # else draining would take as long as the longest wait
        )


def _spool_directory(settings: GatewayOnlySettings) -> SpoolDirectory:
    spool_directory = SpoolDirectory(settings.spool_dir, max_bytes=settings.max_spooled_bytes)
    spool_directory.check()
    return spool_directory
