"""Metrics of the event loop expose what prometheus-client's expose for the same observations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from shared.observability.loop_metrics import LoopCounter, LoopCounters, LoopHistogram

_BOUNDS = (0.001, 0.5, 1.0, 300.0)


def _exposed(registry: CollectorRegistry) -> list[str]:
    # prometheus-client's say when they were made, too, in series that end in _created.
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


_VALUES = st.one_of(st.sampled_from(_BOUNDS), st.integers(0, 1000).map(float))


@given(values=st.lists(_VALUES) | st.lists(_VALUES, min_size=250, max_size=600))
def test_a_histogram_exposes_what_the_library_s_exposes(values: list[float]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    distribution = LoopHistogram("seconds", "Time.", ["route"], buckets=_BOUNDS, registry=ours).labels("a")
    expected = Histogram("seconds", "Time.", ["route"], buckets=_BOUNDS, registry=theirs).labels("a")
    for value in values:
        distribution.observe(value)
        expected.observe(value)

    assert _exposed(ours) == _exposed(theirs)


def test_a_time_is_observed_once_however_its_context_ends() -> None:
    registry = CollectorRegistry()
    distribution = LoopHistogram("seconds", "Time.", buckets=[10.0], registry=registry).labels()
    with distribution.time():
        pass
    with pytest.raises(KeyError), distribution.time():
        raise KeyError

    assert registry.get_sample_value("seconds_bucket", {"le": "10.0"}) == 2


def test_counters_expose_what_the_library_s_expose() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    counters = {"hit": LoopCounter(), "miss": LoopCounter()}
    LoopCounters("lookups_total", "Lookups.", "outcome", counters, registry=ours)
    expected = Counter("lookups_total", "Lookups.", ["outcome"], registry=theirs)
    counters["hit"].inc()
    counters["hit"].inc(3)
    expected.labels("hit").inc(4)
    expected.labels("miss")

    assert _exposed(ours) == _exposed(theirs)


def test_a_histogram_without_labels_begins_at_0() -> None:
    registry = CollectorRegistry()
    LoopHistogram("latency_seconds", "Latency.", buckets=_BOUNDS, registry=registry).labels()

    assert registry.get_sample_value("latency_seconds_count") == 0


def test_as_many_label_values_must_be_given_as_there_are_names() -> None:
    histogram = LoopHistogram("seconds", "Time.", ["route"], buckets=_BOUNDS, registry=CollectorRegistry())

    with pytest.raises(ValueError, match=r"seconds has the labels \['route'\], not 2"):
        histogram.labels("a", "b")


def test_a_name_is_registered_once() -> None:
    registry = CollectorRegistry(auto_describe=True)  # as the one of a process
    LoopHistogram("seconds", "How long.", buckets=_BOUNDS, registry=registry).labels()

    with pytest.raises(ValueError, match="Duplicated"):
        Histogram("seconds", "How long.", registry=registry)
