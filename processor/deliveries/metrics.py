"""What a processor measures of its own work: stages, attempts, results and how long ECGs take."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client import Gauge

from shared.domain.errors import InvalidEcgError
from shared.observability.loop_metrics import LoopCounter, LoopCounters, LoopHistogram
from shared.observability.metrics import BATCH_BUCKETS, DURATION_BUCKETS_S, LATENCY_BUCKETS_S, counters
from shared.ports.operators.throughput import SettledCounts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from shared.ports.ecgs import Claims, Settlement

_STAGE_DURATION: Final = LoopHistogram(
    "isoline_stage_duration_seconds",
    "Stages of settling a batch, waits for PostgreSQL and RabbitMQ among them.",
    ["stage"],
    buckets=DURATION_BUCKETS_S,
)
CLAIM, LOAD, MEASURE, COMMIT, PUBLISH = map(
    _STAGE_DURATION.labels, ("claim", "load", "measure", "commit", "publish")
)
"""Each measures one stage: ``with CLAIM.time(): ...``."""

_ATTEMPTS: Final = counters(
    "isoline_attempts_total", "Attempts to analyse an ECG.", kind=("first", "repeated")
)
_FAILURES: Final = counters(
    "isoline_analysis_failures_total",
    "Attempts without a result: the ECG can't be read, an insight raised, or it was tried too often.",
    reason=("unreadable", "insight", "attempts"),
)
_SETTLED: Final = counters(
    "isoline_ecgs_settled_total", "ECGs that became terminal.", status=("completed", "failed")
)
_insight_seconds: Final[defaultdict[str, LoopCounter]] = defaultdict(LoopCounter)
LoopCounters(
    "isoline_insight_seconds_total",
    "Time to measure an insight, of all leads of all ECGs.",
    "insight",
    _insight_seconds,
)
_BATCH_SIZE: Final = LoopHistogram(
    "isoline_settled_batch_ecgs", "ECGs whose results one statement committed.", buckets=BATCH_BUCKETS
).labels()


@dataclass(slots=True)
class _Held:
    """The ECGs that this process holds."""

    count: int = 0


_held: Final = _Held()
_HELD: Final = Gauge("isoline_held_ecgs", "ECGs that this processor was given and has not settled.")
_HELD.set_function(lambda: _held.count)
_LATENCY: Final = LoopHistogram(
    "isoline_ecg_latency_seconds",
    "From an ECG's 202 to its result, in its first generation.",
    buckets=LATENCY_BUCKETS_S,
).labels()


SETTLED_COUNTS: Final = SettledCounts()
"""What this process has settled and its heartbeat has not said yet."""


@contextmanager
def holding(num_ecgs: int) -> Iterator[None]:
    """Count so many ECGs as held by this process while the context is open."""
    _held.count += num_ecgs
    try:
        yield
    finally:
        _held.count -= num_ecgs


def held_ecgs() -> int:
    """How many ECGs this process was given and has not settled."""
    return _held.count


def count_claims(claims: Claims, *, are_repeated: bool) -> None:
    """Count the attempts that these claims begin."""
    _ATTEMPTS["repeated" if are_repeated else "first"].inc(len(claims.claimed))


def count_failure(error: Exception | None) -> None:
    """Count an attempt that failed by this error, or an ECG that was tried too often."""
    if error is None:
        _FAILURES["attempts"].inc()
    else:
        _FAILURES["unreadable" if isinstance(error, InvalidEcgError) else "insight"].inc()


def count_insight_seconds(spent_s: Mapping[str, float]) -> None:
    """Count what each insight took for some ECGs."""
    for insight, seconds in spent_s.items():
        _insight_seconds[insight].inc(seconds)


def observe_settled(settlements: Collection[Settlement]) -> None:
    """Count ECGs that were made terminal just now, and observe how long each took."""
    failed = sum(settlement.error is not None for settlement in settlements)
    _SETTLED["failed"].inc(failed)
    _SETTLED["completed"].inc(len(settlements) - failed)
    _BATCH_SIZE.observe(len(settlements))
    now_s = time.monotonic()
    latencies_s = [
        now_s - settlement.claim.stored_s
        for settlement in settlements
        if settlement.claim.key.generation == 1
    ]
    for latency_s in latencies_s:
        _LATENCY.observe(latency_s)
    SETTLED_COUNTS.add(completed=len(settlements) - failed, failed=failed, latencies_s=latencies_s)
