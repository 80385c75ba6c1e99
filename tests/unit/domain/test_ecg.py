from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.account import Account, Role
from shared.domain.ecg import Ecg, Lead, fits_int16, to_smallest_dtype
from shared.domain.errors import InvalidEcgError, Problem
from shared.domain.header import INT32_MAX, INT32_MIN, LeadHeader
from tests.support.builders import a_lead, an_ecg

_NO_SIGNAL: Any = np.zeros(0, np.float64)


def pointers_of(make: Any) -> list[str]:
    with pytest.raises(InvalidEcgError) as caught:
        make()
    return [problem.pointer for problem in caught.value.problems]


class TestLead:
    @pytest.mark.parametrize("dtype", [np.int16, np.int32])
    def test_a_signal_has_16_or_32_bits(self, dtype: type) -> None:
        assert a_lead("I", np.array([1], dtype)).signal.dtype == dtype

    @pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint16, np.float32, np.bool_, np.dtype(">i2")])
    def test_a_signal_of_any_other_type_is_refused(self, dtype: Any) -> None:
        assert pointers_of(lambda: a_lead("I", np.array([1]).astype(dtype))) == ["/signal"]

    @pytest.mark.parametrize("shape", [(0,), (1, 1), (), (2,)])
    def test_a_signal_is_one_row_of_as_many_samples_as_its_header_says(self, shape: tuple[int, ...]) -> None:
        assert pointers_of(lambda: Lead(LeadHeader("I", 1), np.zeros(shape, np.int16))) == ["/signal"]

    def test_all_problems_of_a_signal_are_reported_at_once(self) -> None:
        assert pointers_of(lambda: Lead(LeadHeader("I", 1), _NO_SIGNAL)) == ["/signal", "/signal"]

    def test_a_signal_can_not_be_changed(self) -> None:
        lead = a_lead()

        with pytest.raises(ValueError, match="read-only"):
            lead.signal[0] = 5

    def test_it_has_what_its_header_says(self) -> None:
        lead = a_lead("V1", [1], baseline=7, missing_value=-9)

        assert (lead.name, lead.baseline, lead.missing_value) == ("V1", 7, -9)

    def test_a_lead_can_not_be_changed(self) -> None:
        with pytest.raises(FrozenInstanceError):
            a_lead().header = LeadHeader("II", 3)  # type: ignore[misc]


class TestEcg:
    def test_it_has_a_signal_for_each_lead_of_its_header(self) -> None:
        ecg = an_ecg()

        with pytest.raises(ValueError, match="shorter"):
            Ecg(ecg.header, [])

    def test_it_can_not_be_changed(self) -> None:
        with pytest.raises(FrozenInstanceError):
            an_ecg().header = None  # type: ignore[misc,assignment]

    def test_what_is_wrong_with_it_reads_as_a_sentence(self) -> None:
        with pytest.raises(InvalidEcgError, match=r"^/leads: expected at least one lead, found none$"):
            an_ecg(leads=[])

    def test_a_problem_of_the_whole_has_no_pointer_to_read(self) -> None:
        assert str(InvalidEcgError([Problem("", "a"), Problem("/b", "c")])) == "a; /b: c"


@given(st.lists(st.integers(INT32_MIN, INT32_MAX) | st.sampled_from([-(2**15), 2**15 - 1]), max_size=20))
def test_samples_are_made_16_bits_exactly_when_all_fit(values: list[int]) -> None:
    samples = to_smallest_dtype(np.array(values, np.int64))

    fit = all(-32768 <= value <= 32767 for value in values)
    assert samples.dtype == (np.int16 if fit else np.int32)
    assert samples.tolist() == values


@pytest.mark.parametrize("value", [INT32_MIN - 1, INT32_MAX + 1])
def test_samples_past_32_bits_are_refused(value: int) -> None:
    with pytest.raises(OverflowError, match="integers of 32 bits"):
        to_smallest_dtype(np.array([0, value], np.int64))


@pytest.mark.parametrize(
    ("samples", "fit"),
    [
        (np.array([-32768, 32767], np.int32), True),
        (np.array([-32769, 0], np.int32), False),
        (np.array([0, 32768], np.int32), False),
        (np.array([-32768, 32767], np.int16), True),
        (np.array([], np.int32), True),
    ],
)
def test_samples_fit_into_16_bits_if_all_do(samples: Any, *, fit: bool) -> None:
    assert fits_int16(samples) is fit


def test_an_account_never_shows_its_password_hash() -> None:
    account = Account("ada", "canary", frozenset([Role.USER]))

    assert repr(account) == "Account('ada', [<Role.USER: 'user'>])"


@pytest.mark.parametrize(("dtype", "value"), [(np.int16, 1), (np.int32, 2**20)])
def test_samples_that_are_as_narrow_as_they_can_be_are_not_copied(
    dtype: type[np.integer], value: int
) -> None:
    samples = np.array([value, -value], dtype)

    assert np.shares_memory(to_smallest_dtype(samples), samples)
