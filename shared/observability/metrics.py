"""Metrics, by prometheus-client: what those of both services have in common.

A metric stands where it is measured, as a constant of its module; docs/operations.md lists all of them.
Labels have few values, known in advance: never an id, an owner or a lead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.observability.loop_metrics import LoopCounter, LoopCounters

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


def counters(name: str, documentation: str, **label: Iterable[str]) -> Mapping[str, LoopCounter]:
    """The counters of one metric, by the values of its one label; each begins at 0.

    They must be incremented on the event loop alone.
    """
    [(key, values)] = label.items()
    by_value = {value: LoopCounter() for value in values}
    LoopCounters(name, documentation, key, by_value)
    return by_value
