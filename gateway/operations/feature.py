"""The feature of operations: whether the gateway is alive and ready."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.contract.feature import Feature
from gateway.operations.handlers import HealthHandlers
from gateway.operations.routes import HEALTH_ROUTES
from shared.backlog_age import health_part_of_backlog_age
from shared.runtime.health import open_health
from shared.runtime.operations_port import open_operations_port
from shared.runtime.scraped_metrics import ScrapedMetrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from shared.ports.operators.backlog import BacklogReader
    from shared.runtime.health import HealthPart
    from shared.runtime.settings import OperationsSettings


@asynccontextmanager
async def open_operations(
    settings: OperationsSettings,
    *,
    health_parts: Mapping[str, HealthPart],
    backlog: BacklogReader,
    port: int,
) -> AsyncIterator[Feature]:
    """Yield the feature; its health parts are checked and the port is open for as long as the context is.

    Raises:
        ConfigurationError: The port is taken.
    """
    parts = {
        **health_parts,
        "backlog_age": health_part_of_backlog_age(backlog, warning_s=settings.backlog_age_warning_s),
    }
    async with (
        open_health(parts) as health,
        open_operations_port(
            settings.operations_host, port, health=health, metrics=ScrapedMetrics(health, backlog)
        ),
    ):
        yield Feature(routes=HEALTH_ROUTES, handlers=HealthHandlers(health))
