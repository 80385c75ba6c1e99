"""Metrics of this process, and scripted ones of a service."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from prometheus_client import REGISTRY

from shared.ports.operators.backlog import BacklogState
from shared.runtime.scraped_metrics import ScrapedMetrics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.domain.errors import UnavailableError
    from shared.runtime.health import Health


NOTHING_WAITS: Final = BacklogState(0, 0.0, 0, 0.0)


class ScriptedBacklog:
    """A `shared.ports.operators.backlog.BacklogReader` with a given state, or a failure."""

    def __init__(self, outcome: BacklogState | UnavailableError = NOTHING_WAITS) -> None:
        self.outcome = outcome

    async def read(self) -> BacklogState:
        if isinstance(self.outcome, BacklogState):
            return self.outcome
        raise self.outcome


def metrics_of(health: Health) -> ScrapedMetrics:
    """The metrics of a worker with this health and nothing queued."""
    return ScrapedMetrics(health, ScriptedBacklog())


def metric_value(name: str, **labels: str) -> float:
    """The present value of a metric of this process; 0 before its first."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


@contextmanager
def counting(*series: tuple[str, dict[str, str]]) -> Iterator[list[float]]:
    """Yield a list that has, after the context, by how much each of these series grew inside."""
    before = [metric_value(name, **labels) for name, labels in series]
    grown: list[float] = []
    yield grown
    after = [metric_value(name, **labels) for name, labels in series]
    grown += [end - start for end, start in zip(after, before, strict=True)]
