"""How many ECGs the processors settle, and how long ECGs take from their 202 to their result."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from shared.observability.metrics import LATENCY_BUCKETS_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

_BUCKETS: Final = len(LATENCY_BUCKETS_S) + 1


@dataclass(slots=True)
class SettledCounts:
    """ECGs that became terminal.

    Attributes:
        latencies: How many of first generations took how long, by the bounds ``LATENCY_BUCKETS_S``; the last
            bucket has what took longer.
    """

    completed: int = 0
    failed: int = 0
    latencies: list[int] = field(default_factory=lambda: [0] * _BUCKETS)

    def add(self, *, completed: int, failed: int, latencies_s: Iterable[float]) -> None:
        """Count more of them."""
        self.completed += completed
        self.failed += failed
        for latency_s in latencies_s:
            self.latencies[bisect_left(LATENCY_BUCKETS_S, latency_s)] += 1

    def take(self) -> SettledCounts:
        """What was counted since this was last called."""
        taken = SettledCounts(self.completed, self.failed, self.latencies)
        self.completed, self.failed, self.latencies = 0, 0, [0] * _BUCKETS
        return taken

    def put_back(self, taken: SettledCounts) -> None:
        """Count again what was taken and could not be kept."""
        self.completed += taken.completed
        self.failed += taken.failed
        self.latencies = [mine + theirs for mine, theirs in zip(self.latencies, taken.latencies, strict=True)]

    @property
    def is_empty(self) -> bool:
        """Whether there is none."""
        return not (self.completed or self.failed)

    def latency_s(self, quantile: float) -> float | None:
        """The latency that this part of the ECGs had at most, within its bucket; None without any."""
        rank = quantile * sum(self.latencies)
        below = 0
        bounds = (0.0, *LATENCY_BUCKETS_S, LATENCY_BUCKETS_S[-1])
        for bucket, count in enumerate(self.latencies):
            if count and below + count >= rank:
                low, high = bounds[bucket], bounds[bucket + 1]
                return low + (high - low) * (rank - below) / count
            below += count
        return None


class MinuteCount(NamedTuple):
    """ECGs that became terminal in one minute."""

    at: datetime
    completed: int
    failed: int


class RecentThroughput(NamedTuple):
    """What all processors have settled lately.

    Attributes:
        now: In this minute and the one before.
        now_s: How long these two have lasted until now.
        hour: In the last 60 minutes, this one included.
        hour_s: How long these have lasted.
        minutes: Those of the hour in which anything was settled, oldest first.
    """

    now: SettledCounts
    now_s: float
    hour: SettledCounts
    hour_s: float
    minutes: Sequence[MinuteCount]


class Throughput(Protocol):
    """Keeps and reads what processors settle, by minutes, for a day. Every method raises UnavailableError."""

    async def add(self, process_id: UUID, counts: SettledCounts) -> bool:
        """Keep what a process has settled since it last said so, with the present minute.

        Returns:
            False if that can't be kept: the schema is older, or the role lacks the privilege.
        """

    async def recent(self) -> RecentThroughput:
        """The last hour of all processes."""
