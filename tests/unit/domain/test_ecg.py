from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.account import Account, Role
from shared.domain.ecg import INT32_MAX, INT32_MIN, Ecg, Lead, narrowed, repeated_names
from shared.domain.errors import InvalidEcgError, Problem
from tests.builders import a_lead, an_ecg

_NO_SIGNAL: Any = np.zeros(0, np.float64)


def pointers_of(make: Any) -> list[str]:
    with pytest.raises(InvalidEcgError) as caught:
        make()
    return [problem.pointer for problem in caught.value.problems]


class TestLead:
    @pytest.mark.parametrize("name", ["I", "x" * 32, "µV ü", " "])
    def test_a_name_has_1_to_32_printable_characters(self, name: str) -> None:
        assert a_lead(name).name == name

    @pytest.mark.parametrize("name", ["", "x" * 33, "a\0", "a\n", "\x7f", "\u200b"])
    def test_any_other_name_is_refused(self, name: str) -> None:
        assert pointers_of(lambda: a_lead(name)) == ["/name"]

    @pytest.mark.parametrize("dtype", [np.int16, np.int32])
    def test_a_signal_has_16_or_32_bits(self, dtype: type) -> None:
        assert Lead("I", np.array([1], dtype)).signal.dtype == dtype

    @pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint16, np.float32, np.bool_, np.dtype(">i2")])
    def test_a_signal_of_any_other_type_is_refused(self, dtype: Any) -> None:
        assert pointers_of(lambda: Lead("I", np.array([1]).astype(dtype))) == ["/signal"]

    @pytest.mark.parametrize("shape", [(0,), (1, 1), ()])
    def test_a_signal_is_one_row_of_one_sample_or_more(self, shape: tuple[int, ...]) -> None:
        assert pointers_of(lambda: Lead("I", np.zeros(shape, np.int16))) == ["/signal"]

    @pytest.mark.parametrize("baseline", [INT32_MIN, 0, INT32_MAX])
    def test_a_baseline_has_32_bits(self, baseline: int) -> None:
        assert a_lead(baseline=baseline).baseline == baseline

    @pytest.mark.parametrize("baseline", [INT32_MIN - 1, INT32_MAX + 1])
    def test_a_baseline_past_32_bits_is_refused(self, baseline: int) -> None:
        assert pointers_of(lambda: a_lead(baseline=baseline)) == ["/baseline"]

    @pytest.mark.parametrize("adc_gain", [0.0, -1.0, math.nan, math.inf, -math.inf])
    def test_a_gain_is_a_number_above_zero(self, adc_gain: float) -> None:
        assert pointers_of(lambda: Lead("I", np.array([1], np.int16), 0, adc_gain)) == ["/adc_gain"]

    def test_all_that_is_wrong_is_told_at_once(self) -> None:
        assert pointers_of(lambda: Lead("", _NO_SIGNAL, 2**31, 0)) == [
            "/name",
            "/signal",
            "/signal",
            "/baseline",
            "/adc_gain",
        ]

    def test_a_signal_can_not_be_changed(self) -> None:
        lead = a_lead()

        with pytest.raises(ValueError, match="read-only"):
            lead.signal[0] = 5

    def test_a_lead_can_not_be_changed(self) -> None:
        with pytest.raises(FrozenInstanceError):
            a_lead().baseline = 5  # type: ignore[misc]


class TestEcg:
    def test_its_samples_are_those_of_all_leads(self) -> None:
        assert an_ecg(leads=[a_lead("I", [1, 2, 3]), a_lead("II", [1])]).num_samples == 4

    def test_it_has_a_lead(self) -> None:
        assert pointers_of(lambda: an_ecg(leads=[])) == ["/leads"]

    def test_its_leads_have_names_of_their_own_ignoring_case(self) -> None:
        leads = [a_lead("aVR"), a_lead("I"), a_lead("AVR")]

        assert pointers_of(lambda: an_ecg(leads=leads)) == ["/leads/0/name", "/leads/2/name"]

    def test_it_can_not_be_changed(self) -> None:
        with pytest.raises(FrozenInstanceError):
            an_ecg().id = "11"  # type: ignore[misc]

    def test_what_is_wrong_with_it_reads_as_a_sentence(self) -> None:
        with pytest.raises(InvalidEcgError, match=r"^/leads: expected at least one lead, found none$"):
            Ecg("10", "2023-07-30", ())

    def test_a_problem_of_the_whole_has_no_pointer_to_read(self) -> None:
        assert str(InvalidEcgError([Problem("", "a"), Problem("/b", "c")])) == "a; /b: c"


def test_a_lead_without_a_name_repeats_nobody() -> None:
    assert repeated_names([None, "I", None]) == []


@given(st.lists(st.integers(INT32_MIN, INT32_MAX) | st.sampled_from([-(2**15), 2**15 - 1]), max_size=20))
def test_samples_are_narrowed_to_16_bits_exactly_when_all_fit(values: list[int]) -> None:
    samples = narrowed(np.array(values, np.int64))

    fit = all(-32768 <= value <= 32767 for value in values)
    assert samples.dtype == (np.int16 if fit else np.int32)
    assert samples.tolist() == values


@pytest.mark.parametrize("value", [INT32_MIN - 1, INT32_MAX + 1])
def test_samples_past_32_bits_are_not_narrowed(value: int) -> None:
    with pytest.raises(OverflowError, match="integers of 32 bits"):
        narrowed(np.array([0, value], np.int64))


def test_an_account_never_shows_its_password_hash() -> None:
    account = Account("ada", "canary", frozenset([Role.USER]))

    assert repr(account) == "Account('ada', [<Role.USER: 'user'>])"


@pytest.mark.parametrize(("dtype", "value"), [(np.int16, 1), (np.int32, 2**20)])
def test_samples_that_are_as_narrow_as_they_can_be_are_not_copied(
    dtype: type[np.integer], value: int
) -> None:
    samples = np.array([value, -value], dtype)

    assert np.shares_memory(narrowed(samples), samples)
