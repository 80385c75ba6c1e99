from __future__ import annotations

import json
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processor.insights import zero_crossings
from processor.insights.signal_warnings import SampleCounts, never_near_zero
from processor.insights.zero_crossings import ZERO_CROSSINGS, count_zero_crossings, find_zero_crossings
from shared.domain.findings import Finding
from shared.domain.header import INT32_MAX, INT32_MIN
from shared.domain.insights import Signal
from tests.support.builders import a_lead
from tests.support.golden import PTB_XL_06004

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from shared.domain.ecg import Lead, Samples

_DATA = Path(__file__).parents[3] / "examples" / "data"

# Signals of any length are counted as a few samples are, or as many are.
_FEW_OR_MANY = [64, 0]

# The table of the definition, counted by hand: signal, baseline, crossings.
_DEFINITION = [
    ([1, -1, 1], 0, 2),
    ([1, 0, 0, -1, 0, 1], 0, 2),
    ([1, 0, -1], 0, 1),
    ([-3, 0, 0, 0, -2], 0, 0),
    ([1, 0, 1], 0, 0),
    ([5], 0, 0),
    ([0, 0, 1], 0, 0),
    ([0, 0, 0], 0, 0),
    ([0, -1], 0, 0),
    ([50_000, -50_000], 0, 1),
    ([INT32_MIN, INT32_MAX], 0, 1),
    ([1024, 1030, 1020], 1024, 1),
]
_M = -32_768
# The same where samples are missing, which no baseline changes.
_DEFINITION_OF_MISSING = [
    ([1, _M, -1], 0, 0),
    ([1, -1, _M, 1], 0, 1),
    ([1, 0, _M, -1], 0, 0),
    ([1, _M, 0, -1], 0, 0),
    ([_M, 1, -1, _M], 0, 1),
    ([1, -1, _M, _M, 1, -1], 0, 2),
    ([_M, _M], 0, 0),
    ([1, _M, -1], _M, 0),
]


def as_int32(signal: Sequence[int]) -> Samples:
    return np.array(signal, np.int32)


def crossings_by_definition(signal: Iterable[int], baseline: int, missing_value: int | None = None) -> int:
    """Sign changes between consecutive samples that are not on the baseline, in Python's own integers.

    Each run of samples between missing ones is a signal of its own.
    """
    runs: list[list[bool]] = [[]]
    for sample in signal:
        if sample == missing_value:
            runs.append([])
        elif sample != baseline:
            runs[-1].append(sample > baseline)
    return sum(here != there for signs in runs for here, there in pairwise(signs))


def measured(lead: Lead) -> Finding:
    """The finding of the insight for a lead without rate and unit."""
    finding = ZERO_CROSSINGS.measure(Signal(lead), {})
    assert isinstance(finding, Finding)
    return finding


def recorded_leads(file: str) -> list[dict[str, Any]]:
    leads: list[dict[str, Any]] = json.loads((_DATA / file).read_bytes())["leads"]
    return leads


@st.composite
def signals(draw: st.DrawFn) -> tuple[Samples, int]:
    """A signal of either width that meets its baseline often, over the whole range of both."""
    dtype: npt.DTypeLike = draw(st.sampled_from([np.int16, np.int32]))
    bounds = np.iinfo(dtype)
    baseline = draw(st.integers(INT32_MIN, INT32_MAX) | st.sampled_from([0, INT32_MIN, INT32_MAX]))
    near = [value for value in range(baseline - 2, baseline + 3) if bounds.min <= value <= bounds.max]
    anywhere = st.integers(int(bounds.min), int(bounds.max)) | st.sampled_from(
        [int(bounds.min), int(bounds.max)]
    )
    samples = st.sampled_from(near) | anywhere if near else anywhere
    return np.array(draw(st.lists(samples, max_size=40)), dtype), baseline


class TestCount:
    @pytest.mark.parametrize(("signal", "baseline", "crossings"), _DEFINITION)
    @pytest.mark.parametrize("few", _FEW_OR_MANY)
    def test_it_follows_the_definition(
        self, signal: list[int], baseline: int, crossings: int, few: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(zero_crossings, "_FEW", few)

        assert count_zero_crossings(as_int32(signal), baseline) == crossings

    @pytest.mark.parametrize(("signal", "baseline", "crossings"), _DEFINITION)
    @pytest.mark.parametrize("chunk", [1, 2, 3])
    def test_it_follows_the_definition_wherever_a_chunk_ends(
        self, signal: list[int], baseline: int, crossings: int, chunk: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(zero_crossings, "_FEW", 0)
        monkeypatch.setattr(zero_crossings, "_CHUNK", chunk)

        assert count_zero_crossings(as_int32(signal), baseline) == crossings

    @pytest.mark.parametrize(("signal", "baseline", "crossings"), _DEFINITION_OF_MISSING)
    @pytest.mark.parametrize("sizes", [(64, 64), (0, 64), (0, 1), (0, 2), (0, 3)])
    def test_none_is_counted_across_missing_samples(
        self, signal: list[int], baseline: int, crossings: int, sizes: tuple[int, int]
    ) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(zero_crossings, "_FEW", sizes[0])
            patch.setattr(zero_crossings, "_CHUNK", sizes[1])
            counted = count_zero_crossings(as_int32(signal), baseline, _M)

        assert counted == crossings

    @given(signals(), st.data(), st.sampled_from([(64, 64), (0, 64), (0, 1), (0, 3)]))
    def test_it_equals_the_definition_whatever_value_is_missing(
        self, signal: tuple[Samples, int], data: st.DataObject, sizes: tuple[int, int]
    ) -> None:
        samples, baseline = signal
        values = sorted({*samples.tolist(), baseline, INT32_MIN})
        missing_value = data.draw(st.sampled_from(values))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(zero_crossings, "_FEW", sizes[0])
            patch.setattr(zero_crossings, "_CHUNK", sizes[1])
            found = find_zero_crossings(samples, baseline, missing_value)

        measured = [sample for sample in samples.tolist() if sample != missing_value]
        assert found.number == crossings_by_definition(samples.tolist(), baseline, missing_value)
        assert found.counts == SampleCounts(
            above=sum(sample > baseline for sample in measured),
            below=sum(sample < baseline for sample in measured),
            missing=samples.size - len(measured),
        )

    def test_a_missing_value_that_the_signal_can_not_hold_changes_nothing(self) -> None:
        samples = np.tile(np.array([1, -1], np.int16), 100)

        assert count_zero_crossings(samples, 0, INT32_MIN) == 199

    @given(signals(), st.sampled_from(_FEW_OR_MANY))
    def test_it_equals_the_definition_for_every_16_and_32_bit_signal_and_baseline(
        self, signal: tuple[Samples, int], few: int
    ) -> None:
        samples, baseline = signal

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(zero_crossings, "_FEW", few)
            crossings = count_zero_crossings(samples, baseline)

        assert crossings == crossings_by_definition(samples.tolist(), baseline)

    @pytest.mark.parametrize("size", [zero_crossings._FEW, zero_crossings._FEW + 1])
    def test_few_and_many_samples_are_counted_alike(self, size: int) -> None:
        samples = np.tile(np.array([1, 0, -1], np.int32), size)[:size]

        assert count_zero_crossings(samples) == crossings_by_definition(samples.tolist(), 0)

    @given(signals(), st.integers(1, 7))
    def test_it_does_not_matter_where_a_chunk_ends(self, signal: tuple[Samples, int], chunk: int) -> None:
        samples, baseline = signal

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(zero_crossings, "_FEW", 0)
            patch.setattr(zero_crossings, "_CHUNK", chunk)
            crossings = count_zero_crossings(samples, baseline)

        assert crossings == crossings_by_definition(samples.tolist(), baseline)

    @given(signals())
    def test_it_leaves_the_signal_as_it_is(self, signal: tuple[Samples, int]) -> None:
        samples, baseline = signal
        before = samples.tolist()

        count_zero_crossings(samples, baseline)

        assert samples.tolist() == before

    def test_an_empty_signal_has_no_crossings(self) -> None:
        assert count_zero_crossings(as_int32([])) == 0

    def test_a_crossing_between_two_real_chunks_is_counted_once(self) -> None:
        border = zero_crossings._CHUNK
        samples = np.ones(2 * border, np.int16)
        samples[border:] = -1

        assert count_zero_crossings(samples) == 1

    def test_a_crossing_over_a_whole_chunk_of_zeros_is_counted_once(self) -> None:
        chunk = zero_crossings._CHUNK
        samples = np.zeros(3 * chunk, np.int16)
        samples[0], samples[-1] = 1, -1

        assert count_zero_crossings(samples) == 1

    def test_the_count_of_many_chunks_is_a_plain_integer_that_json_can_carry(self) -> None:
        samples = np.tile(np.array([1, -1], np.int16), zero_crossings._CHUNK)

        assert type(count_zero_crossings(samples)) is int

    def test_an_alternating_signal_of_many_chunks_crosses_between_all_its_samples(self) -> None:
        samples = np.tile(np.array([1, -1], np.int16), 150_000)

        assert count_zero_crossings(samples) == 299_999

    def test_every_second_sample_of_a_longer_array_is_a_signal_too(self) -> None:
        interleaved = np.array([1, 9, -1, 9, 1, 9], np.int16)

        assert count_zero_crossings(interleaved[::2]) == 2

    @pytest.mark.parametrize("missing_value", [None, 0])
    def test_it_needs_far_less_memory_than_the_signal(self, missing_value: int | None) -> None:
        samples = np.tile(np.array([1, 0, -1, 3], np.int16), 1_000_000)  # 8 MB
        lead = a_lead("I", samples, missing_value=missing_value)

        tracemalloc.start()
        try:
            finding = measured(lead)
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        # + 0 - + crosses twice, and not to the + of the next four; once where the 0 is missing.
        assert finding.summary == (2_000_000 if missing_value is None else 1_000_000)
        assert peak_bytes < 1_000_000


class TestRecordings:
    @pytest.mark.parametrize(("name", "crossings"), PTB_XL_06004.items())
    def test_each_lead_of_the_ptb_xl_record_has_its_known_count(self, name: str, crossings: int) -> None:
        [lead] = [lead for lead in recorded_leads("ptbxl_06004.json") if lead["name"] == name]

        finding = measured(a_lead(name, as_int32(lead["signal"])))

        assert (finding.summary, finding.warnings) == (crossings, ())

    @pytest.mark.parametrize("index", [0, 1])
    def test_each_lead_of_the_mit_bih_record_crosses_its_baseline_26_times(self, index: int) -> None:
        lead = recorded_leads("mitdb100_10s.json")[index]

        finding = measured(a_lead(lead["name"], as_int32(lead["signal"]), baseline=1024))

        assert (finding.summary, finding.warnings) == (26, ())

    @pytest.mark.parametrize("index", [0, 1])
    def test_raw_mit_bih_counts_warn_that_they_never_come_near_zero(self, index: int) -> None:
        lead = recorded_leads("mitdb100_10s.json")[index]

        finding = measured(a_lead(lead["name"], as_int32(lead["signal"])))

        assert (finding.summary, finding.warnings) == (0, ("signal_never_near_zero",))


class TestNeverNearZero:
    @pytest.mark.parametrize(
        ("signal", "baseline", "expected"),
        [
            ([1024, 1030, 1020], 0, True),  # 1020 away, range 10
            ([-1024, -1030, -1020], 0, True),
            ([1024, 1030, 1020], 1024, False),  # on both sides
            ([11, 21], 0, True),  # 11 away, range 10
            ([10, 20], 0, False),  # 10 away, range 10: not farther
            ([-11, -21], 0, True),
            ([-10, -20], 0, False),
            ([5], 0, True),  # a range of 0, and 5 away
            ([0], 0, False),
            ([0, 0, 0], 0, False),
            ([7, 7], 7, False),
            ([0, 100], 0, False),  # it touches the baseline
            ([-1, 1], 0, False),
            ([INT32_MIN, INT32_MAX], 0, False),
            ([INT32_MAX], INT32_MIN, True),  # 2**32 - 1 away
            ([INT32_MIN], INT32_MAX, True),
        ],
    )
    def test_it_says_whether_the_nearest_sample_is_farther_away_than_the_range(
        self, signal: list[int], baseline: int, *, expected: bool
    ) -> None:
        assert never_near_zero(as_int32(signal), baseline) is expected

    @given(signals())
    def test_a_signal_that_crosses_is_never_called_far_away(self, signal: tuple[Samples, int]) -> None:
        samples, baseline = signal
        if not samples.size:
            return

        is_far = never_near_zero(samples, baseline)

        assert not (is_far and crossings_by_definition(samples.tolist(), baseline))


def test_the_insight_counts_from_the_leads_own_baseline() -> None:
    lead = a_lead(signal=[1024, 1030, 1020], baseline=1024)

    assert measured(lead).summary == 1


def test_a_finding_near_zero_has_no_warning() -> None:
    assert measured(a_lead(signal=[1, 0, 1])).warnings == ()


def test_the_insight_says_how_many_samples_are_missing() -> None:
    finding = measured(a_lead(signal=[1, -32768, -1, -32768], missing_value=-32768))

    assert (finding.summary, finding.warnings, finding.counts) == (
        0,
        ("missing_samples",),
        {"missing_samples": 2},
    )


def test_a_missing_value_that_no_sample_has_is_not_warned_of() -> None:
    finding = measured(a_lead(signal=[1, -1, 1], missing_value=-32768))

    assert (finding.summary, finding.warnings, finding.counts) == (2, (), {})
