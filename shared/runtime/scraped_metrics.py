"""The metrics of a worker when they are scraped: what it counted, and what is measured just then."""

from __future__ import annotations

import math
import platform
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, Gauge, Info, generate_latest

from shared.domain.errors import UnavailableError
from shared.ports.operators.backlog import BacklogState
from shared.release import RELEASE
from shared.runtime.supervision import within

if TYPE_CHECKING:
    from shared.ports.operators.backlog import BacklogReader
    from shared.runtime.health import Health

# A scrape has 10 s by default, and must not end without the metrics that need no PostgreSQL.
_READ_WITHIN_S: Final = 2.0
_UNKNOWN: Final = BacklogState(*[math.nan] * 4)  # type: ignore[arg-type] # gauges take it

_BUILD: Final = Info("isoline_build", "The release of this process, and its Python.")
_READY: Final = Gauge("isoline_ready", "1 if this worker is ready, else 0.")
_PART_OK: Final = Gauge(
    "isoline_health_part_ok", "1 if a part that this worker needs works, else 0.", ["part"]
)
_QUEUED: Final = Gauge("isoline_queued_ecgs", "ECGs that are not terminal, of all gateways.")
_OLDEST_QUEUED: Final = Gauge(
    "isoline_oldest_queued_ecg_age_seconds", "Age of the oldest of them that was not replayed; 0 if none."
)
_OUTBOX: Final = Gauge("isoline_outbox_batches", "Event batches that are not published, of all processors.")
_OLDEST_IN_OUTBOX: Final = Gauge(
    "isoline_oldest_outbox_batch_age_seconds", "Age of the oldest of them; 0 if none."
)


class Exposition(NamedTuple):
    """Metrics in Prometheus' text format."""

    body: bytes
    content_type: str = CONTENT_TYPE_LATEST


class ScrapedMetrics:
    """All metrics of this worker.

    Args:
        health: Of this worker.
        backlog: Read at each scrape; the gauges made of it are NaN while it can't be read.
    """

    def __init__(self, health: Health, backlog: BacklogReader) -> None:
        self._health = health
        self._backlog = backlog
        _BUILD.info({"version": RELEASE, "python": platform.python_version()})

    async def scrape(self) -> Exposition:
        """The present value of each metric."""
        # The backlog may take two seconds while PostgreSQL is frozen; health is of now.
        _set_backlog(await self._read_backlog())
        await self._measure_health()
        return Exposition(generate_latest(REGISTRY))

    async def _measure_health(self) -> None:
        readiness = await self._health.readiness()
        _READY.set(readiness.is_ready)
        for name, is_ok in readiness.parts_ok.items():
            _PART_OK.labels(name).set(is_ok)

    async def _read_backlog(self) -> BacklogState:
        try:
            return await within(_READ_WITHIN_S, self._backlog.read())
        except (TimeoutError, UnavailableError):
            return _UNKNOWN


def _set_backlog(backlog: BacklogState) -> None:
    _QUEUED.set(backlog.queued_ecgs)
    _OLDEST_QUEUED.set(backlog.oldest_ecg_s)
    _OUTBOX.set(backlog.unpublished_batches)
    _OLDEST_IN_OUTBOX.set(backlog.oldest_batch_s)
