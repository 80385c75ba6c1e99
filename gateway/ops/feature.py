"""The feature of operations: how the installation does, and what operators can do about it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from gateway.contract.feature import Feature
from gateway.ops.dead_letters import OperatorDeadLetters
from gateway.ops.handlers import OpsHandlers, overview_document
from gateway.ops.overview_feed import open_overview_feed
from gateway.ops.routes import OPS_ROUTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from shared.operations.overview import OverviewSources
    from shared.ports.operators.audit import Audit
    from shared.ports.operators.dead_letters import DeadLetters
    from shared.ports.operators.finished_ecgs import FinishedEcgs
    from shared.ports.operators.outbox_state import OutboxReader
    from shared.ports.operators.timeline import Timelines
    from shared.runtime.health import Health


@dataclass(frozen=True, slots=True, kw_only=True)
class OpsPorts:
    """The ports to storage and broker that the feature needs, with the rights of an operator."""

    sources: OverviewSources
    ecgs: FinishedEcgs
    timelines: Timelines
    outbox: OutboxReader
    audit: Audit
    open_letters: Callable[[], AbstractAsyncContextManager[DeadLetters]]


@asynccontextmanager
async def open_ops(ports: OpsPorts, *, health: Health) -> AsyncIterator[Feature]:
    """Yield the feature; streams of events end with the context, or when it begins to drain."""
    async with open_overview_feed(partial(overview_document, ports.sources, health)) as feed:
        yield Feature(
            routes=OPS_ROUTES,
            handlers=OpsHandlers(
                sources=ports.sources,
                ecgs=ports.ecgs,
                timelines=ports.timelines,
                outbox=ports.outbox,
                audit=ports.audit,
                letters=OperatorDeadLetters(ports.open_letters),
                health=health,
                feed=feed,
            ),
            begin_drain=feed.end,
        )
