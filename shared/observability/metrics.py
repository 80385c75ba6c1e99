"""Metrics, by prometheus-client: what those of both services have in common.

A metric stands where it is measured, as a constant of its module; docs/operations.md lists all of them.
Labels have few values, known in advance: never an id, an owner or a lead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import Counter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# From what is answered from memory to what waits for an outage to end.
DURATION_BUCKETS_S: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
# From an ECG that is settled at once to one that waited for a processor to be repaired.
LATENCY_BUCKETS_S: Final = (*DURATION_BUCKETS_S[3:], 300.0, 1800.0, 7200.0)
BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def counters(name: str, documentation: str, **label: Iterable[str]) -> Mapping[str, Counter]:
    """The counters of one metric, by the values of its one label; each begins at 0.

    To find a counter by its label takes twice as long as to increment it.
    """
    [(key, values)] = label.items()
    metric = Counter(name, documentation, [key])
    return {value: metric.labels(value) for value in values}
