from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from processor.insights import signal_warnings
from processor.insights.signal_warnings import warnings_of
from processor.insights.zero_crossings import find_zero_crossings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.domain.ecg import Samples

_TESTS = Path(__file__).parents[2]
_EXAMPLES = _TESTS.parent / "examples" / "data"
_NEVER_NEAR_ZERO, _ONE_SIDED = ("signal_never_near_zero",), ("signal_one_sided",)


class Recorded(NamedTuple):
    """A real lead, and what makes physical values of it."""

    name: str
    signal: Samples
    baseline: int
    units_per_mv: float


def bundled(file: str) -> list[Recorded]:
    document: dict[str, Any] = json.loads((_EXAMPLES / file).read_bytes())
    to_mv = 1000 if document["unit"] == "uV" else 1
    return [
        Recorded(
            lead["name"],
            np.array(lead["signal"], np.int16),
            lead.get("baseline", 0),
            lead.get("adc_gain", 1) * to_mv,
        )
        for lead in document["leads"]
    ]


def of_format_212(file: str, names: Sequence[str]) -> list[Recorded]:
    """Two leads of 12 bits, of which three bytes hold a sample each."""
    low, middle, high = np.fromfile(_TESTS / "data" / file, np.uint8).reshape(-1, 3).astype(np.int16).T
    unsigned = low | (middle & 0x0F) << 8, high | (middle & 0xF0) << 4
    signals = [np.where(signal > 2047, signal - 4096, signal).astype(np.int16) for signal in unsigned]
    return [Recorded(name, signal, 1024, 200) for name, signal in zip(names, signals, strict=True)]


_RECORDED = [
    *bundled("ptbxl_06004.json"),
    *bundled("mitdb100_10s.json"),
    *of_format_212("mitdb203x.dat", ["203 MLII", "203 V1"]),
]
_NAMES = [lead.name for lead in _RECORDED]


def words_of(
    signal: Sequence[int] | Samples, baseline: int = 0, missing_value: int | None = None
) -> tuple[str, ...]:
    samples = signal if isinstance(signal, np.ndarray) else np.array(signal, np.int32)
    counts = find_zero_crossings(samples, baseline, missing_value).counts
    return warnings_of(samples, counts, baseline, missing_value)


def a_wave(size: int = 1000, *, offset: int = 0, amplitude: int = 300) -> Samples:
    return (offset + amplitude * np.sin(np.arange(size) / 20)).astype(np.int16)


class TestRecordings:
    @pytest.mark.parametrize("lead", _RECORDED, ids=_NAMES)
    def test_a_real_lead_as_it_should_be_sent_has_no_warning(self, lead: Recorded) -> None:
        assert words_of(lead.signal, lead.baseline) == ()

    @pytest.mark.parametrize("lead", _RECORDED, ids=_NAMES)
    def test_a_real_lead_whose_baseline_was_forgotten_has_one(self, lead: Recorded) -> None:
        raw = lead.signal if lead.baseline else lead.signal + np.int16(2048)

        assert words_of(raw) in {_NEVER_NEAR_ZERO, _ONE_SIDED}

    @pytest.mark.parametrize("lead", _RECORDED, ids=_NAMES)
    def test_a_real_lead_that_was_cast_from_millivolts_has_few_levels(self, lead: Recorded) -> None:
        millivolts = ((lead.signal - lead.baseline) / lead.units_per_mv).astype(np.int16)

        assert "few_levels" in words_of(millivolts)


class TestOneSided:
    @pytest.mark.parametrize(("others", "expected"), [(9, _ONE_SIDED), (10, ())])
    @pytest.mark.parametrize("sign", [1, -1])
    def test_fewer_than_one_in_a_hundred_samples_on_a_side_are_too_few(
        self, others: int, expected: tuple[str, ...], sign: int
    ) -> None:
        signal = np.arange(1, 1001, dtype=np.int16)
        signal[:others] *= -1

        assert words_of(sign * signal) == expected

    def test_a_baseline_that_was_given_was_not_forgotten(self) -> None:
        assert words_of(a_wave(offset=350), 1) == ()

    def test_it_is_not_said_where_a_stronger_word_is(self) -> None:
        assert words_of(a_wave(offset=1000)) == _NEVER_NEAR_ZERO

    def test_a_short_signal_may_lie_on_one_side(self) -> None:
        assert words_of(a_wave(249, offset=350)) == ()
        assert words_of(a_wave(250, offset=350)) == _ONE_SIDED


class TestNeverNearZero:
    @pytest.mark.parametrize(
        ("signal", "baseline", "is_far"),
        [
            ([10, 20], 0, False),
            ([11, 21], 0, True),
            ([-20, -10], 0, False),
            ([-21, -11], 0, True),
            ([1030, 1040], 1024, False),
            ([1035, 1040], 1024, True),
            ([1010, 1020], 1024, False),
            ([1000, 1010], 1024, True),
        ],
    )
    def test_the_nearest_sample_is_farther_from_the_baseline_than_the_signal_is_wide(
        self, signal: list[int], baseline: int, *, is_far: bool
    ) -> None:
        assert words_of(signal, baseline) == (_NEVER_NEAR_ZERO if is_far else ())

    def test_a_long_signal_is_looked_at_as_a_whole(self) -> None:
        assert words_of(np.repeat(np.array([1000, 1010], np.int16), 70_000)) == (
            "signal_never_near_zero",
            "few_levels",
        )


class TestFlat:
    @pytest.mark.parametrize(
        ("signal", "baseline", "expected"),
        [
            ([0, 0], 0, ("flat",)),
            ([7, 7], 7, ("flat",)),
            ([7, 7, 7], 0, ("signal_never_near_zero", "flat")),
            ([-7, -7, -7], 0, ("signal_never_near_zero", "flat")),
            ([0] * 5000, 0, ("flat", "few_levels")),
            ([0, 1], 0, ()),
            ([0], 0, ()),
        ],
    )
    def test_two_samples_or_more_of_one_value_are_flat(
        self, signal: list[int], baseline: int, expected: tuple[str, ...]
    ) -> None:
        assert words_of(signal, baseline) == expected

    def test_a_step_after_many_equal_samples_is_seen(self) -> None:
        signal = np.zeros(200_000, np.int16)
        signal[-1] = 100

        assert "flat" not in words_of(signal)


class TestFewLevels:
    @pytest.mark.parametrize(("levels", "expected"), [(15, ("few_levels",)), (16, ())])
    def test_fewer_than_16_values_are_few(self, levels: int, expected: tuple[str, ...]) -> None:
        signal = 1000 * (np.arange(1000, dtype=np.int32) // 5 % levels - levels // 2)

        assert words_of(signal) == expected

    @pytest.mark.parametrize("size", [249, 250])
    def test_a_short_signal_may_have_few(self, size: int) -> None:
        assert words_of(([1, 1, -1, -1] * size)[:size]) == (("few_levels",) if size >= 250 else ())

    def test_a_signal_that_changes_with_every_sample_was_not_cast(self) -> None:
        assert words_of([1, -1] * 1000) == ()

    @pytest.mark.parametrize(
        ("size", "staying", "expected"),
        [(1000, 100, ("few_levels",)), (1000, 99, ()), (1009, 101, ("few_levels",)), (1009, 100, ())],
    )
    def test_a_signal_that_stays_at_fewer_than_one_in_ten_samples_was_not_cast(
        self, size: int, staying: int, expected: tuple[str, ...]
    ) -> None:
        moves = np.ones(size, np.int16)
        moves[1 : 2 * staying : 2] = 0
        signal = np.where(np.cumsum(moves) % 2, 1, -1).astype(np.int16)
        assert np.count_nonzero(signal[1:] == signal[:-1]) == staying

        assert words_of(signal) == expected

    @pytest.mark.parametrize("sign", [1, -1])
    @pytest.mark.parametrize("chunk", [7, 64, 1 << 16])
    def test_levels_that_come_late_and_one_by_one_are_found(
        self, chunk: int, sign: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(signal_warnings, "_CHUNK", chunk)
        signal = sign * np.tile(np.array([1, 1, 1, -1, -1, -1], np.int16), 200)
        signal[-15:-1] = sign * np.arange(2, 16)

        assert words_of(signal) == ()
        signal[-2] = sign
        assert words_of(signal) == ("few_levels",)


class TestMissing:
    def test_missing_samples_are_said_to_be_so(self) -> None:
        signal = a_wave()
        signal[100] = -32768

        assert words_of(signal, missing_value=-32768) == ("missing_samples",)

    def test_in_a_short_signal_too(self) -> None:
        assert words_of([1, -1, 9], missing_value=9) == ("missing_samples",)

    def test_a_signal_is_as_long_as_what_was_measured_of_it(self) -> None:
        signal = a_wave(250, offset=350)
        assert words_of(signal) == _ONE_SIDED
        signal[100] = -32768

        assert words_of(signal, missing_value=-32768) == ("missing_samples",)

    def test_beside_fewer_than_16_levels_they_are_no_other(self) -> None:
        signal = 1000 * (np.arange(1000, dtype=np.int32) // 5 % 15 - 7)
        signal[0] = -32768

        assert words_of(signal, missing_value=-32768) == ("missing_samples", "few_levels")

    def test_a_long_gap_is_passed_over(self) -> None:
        signal = np.full(200_000, -32768, np.int16)
        signal[-1000:] = a_wave(offset=1000)

        assert words_of(signal, missing_value=-32768) == ("missing_samples", *_NEVER_NEAR_ZERO)

    def test_they_are_no_level_no_side_and_no_extreme(self) -> None:
        signal = np.array([500, 501] * 500, np.int16)
        signal[::7] = -32768

        assert words_of(signal, missing_value=-32768) == (
            "missing_samples",
            "signal_never_near_zero",
            "few_levels",
        )

    def test_of_a_lead_that_was_not_measured_at_all_nothing_else_is_said(self) -> None:
        assert words_of([5] * 1000, missing_value=5) == ("missing_samples",)

    def test_a_flat_lead_with_missing_samples_is_flat(self) -> None:
        assert words_of([5, 9, 5], 5, 9) == ("missing_samples", "flat")
