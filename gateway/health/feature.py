"""The feature of health: whether the gateway is alive and ready."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.contract.feature import Feature
from gateway.health.handlers import HealthHandlers
from gateway.health.routes import HEALTH_ROUTES
from shared.runtime.operations_port import open_operations_port
from shared.runtime.scraped_metrics import ScrapedMetrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.ports.operators.backlog import BacklogReader
    from shared.runtime.health import Health


@asynccontextmanager
async def open_health_feature(
    health: Health, *, backlog: BacklogReader, host: str, port: int
) -> AsyncIterator[Feature]:
    """Yield the feature; the port is open for as long as the context is.

    Raises:
        ConfigurationError: The port is taken.
    """
    async with open_operations_port(host, port, health=health, metrics=ScrapedMetrics(health, backlog)):
        yield Feature(routes=HEALTH_ROUTES, handlers=HealthHandlers(health))
