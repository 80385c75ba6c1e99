from __future__ import annotations

import pytest

from shared.ports.operators.throughput import SettledCounts


def counts(*latencies_s: float, completed: int = 0, failed: int = 0) -> SettledCounts:
    settled = SettledCounts()
    settled.add(completed=completed or len(latencies_s), failed=failed, latencies_s=latencies_s)
    return settled


def test_without_any_latency_none_is_known() -> None:
    assert counts(completed=5).latency_s(0.5) is None


@pytest.mark.parametrize(
    ("quantile", "low", "high"),
    [(0.5, 0.01, 0.025), (0.8, 0.01, 0.025), (0.81, 60, 300), (1.0, 60, 300)],
)
def test_a_latency_lies_within_its_bucket(quantile: float, low: float, high: float) -> None:
    found = counts(0.02, 0.02, 0.02, 0.02, 100).latency_s(quantile)

    assert found is not None
    assert low < found <= high


def test_what_took_longer_than_the_last_bound_is_said_as_that_bound() -> None:
    assert counts(1_000_000).latency_s(0.5) == 7200


def test_what_is_taken_is_counted_from_nothing_and_may_be_put_back() -> None:
    settled = counts(0.02, 0.02, failed=1)
    assert not settled.is_empty

    taken = settled.take()
    assert settled.is_empty
    assert (taken.completed, taken.failed, sum(taken.latencies)) == (2, 1, 2)
    settled.add(completed=1, failed=0, latencies_s=[0.02])
    settled.put_back(taken)

    assert (settled.completed, settled.failed, sum(settled.latencies)) == (3, 1, 3)
    assert (taken.completed, sum(taken.latencies)) == (2, 2)
