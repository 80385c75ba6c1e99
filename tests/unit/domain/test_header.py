from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from shared.domain.errors import InvalidEcgError
from shared.domain.header import INT32_MAX, INT32_MIN, Header, LeadHeader, repeated_names


def a_lead_header(name: str = "I", **said: Any) -> LeadHeader:
    return LeadHeader(**{"name": name, "num_samples": 3, **said})


def a_header(*leads: LeadHeader, **said: Any) -> Header:
    return Header("10", "2023-07-30", leads or (a_lead_header(),), **said)


def pointers_of(make: Any) -> list[str]:
    with pytest.raises(InvalidEcgError) as caught:
        make()
    return [problem.pointer for problem in caught.value.problems]


class TestLeadHeader:
    @pytest.mark.parametrize("name", ["I", "x" * 32, "µV ü", " "])
    def test_a_name_has_1_to_32_printable_characters(self, name: str) -> None:
        assert a_lead_header(name).name == name

    @pytest.mark.parametrize("name", ["", "x" * 33, "a\0", "a\n", "\x7f", "\u200b"])
    def test_any_other_name_is_refused(self, name: str) -> None:
        assert pointers_of(lambda: a_lead_header(name)) == ["/name"]

    @pytest.mark.parametrize("num_samples", [0, -1])
    def test_a_lead_has_one_sample_or_more(self, num_samples: int) -> None:
        assert pointers_of(lambda: a_lead_header(num_samples=num_samples)) == ["/num_samples"]

    @pytest.mark.parametrize("baseline", [INT32_MIN, 0, INT32_MAX])
    def test_a_baseline_has_32_bits(self, baseline: int) -> None:
        assert a_lead_header(baseline=baseline).baseline == baseline

    @pytest.mark.parametrize("baseline", [INT32_MIN - 1, INT32_MAX + 1])
    def test_a_baseline_past_32_bits_is_refused(self, baseline: int) -> None:
        assert pointers_of(lambda: a_lead_header(baseline=baseline)) == ["/baseline"]

    @pytest.mark.parametrize("adc_gain", [0.0, -1.0, math.nan, math.inf, -math.inf])
    def test_a_gain_is_a_number_above_zero(self, adc_gain: float) -> None:
        assert pointers_of(lambda: a_lead_header(adc_gain=adc_gain)) == ["/adc_gain"]

    @pytest.mark.parametrize("missing_value", [INT32_MIN, 0, INT32_MAX, None])
    def test_a_missing_value_has_32_bits(self, missing_value: int | None) -> None:
        assert a_lead_header(missing_value=missing_value).missing_value == missing_value

    @pytest.mark.parametrize("missing_value", [INT32_MIN - 1, INT32_MAX + 1])
    def test_a_missing_value_past_32_bits_is_refused(self, missing_value: int) -> None:
        assert pointers_of(lambda: a_lead_header(missing_value=missing_value)) == ["/missing_value"]

    @pytest.mark.parametrize("rate_hz", [0.5, 10_001, math.nan])
    def test_a_rate_of_its_own_is_one_that_an_ecg_may_have(self, rate_hz: float) -> None:
        assert pointers_of(lambda: a_lead_header(sampling_rate_hz=rate_hz)) == ["/sampling_rate_hz"]

    def test_all_problems_are_reported_at_once(self) -> None:
        assert pointers_of(lambda: LeadHeader("", 0, 2**31, 0, 0, 2**31)) == [
            "/name",
            "/num_samples",
            "/baseline",
            "/adc_gain",
            "/sampling_rate_hz",
            "/missing_value",
        ]

    def test_it_can_not_be_changed(self) -> None:
        with pytest.raises(FrozenInstanceError):
            a_lead_header().baseline = 5  # type: ignore[misc]


class TestHeader:
    def test_its_samples_are_those_of_all_leads(self) -> None:
        assert (
            a_header(a_lead_header("I", num_samples=3), a_lead_header("II", num_samples=1)).num_samples == 4
        )

    def test_it_has_a_lead(self) -> None:
        assert pointers_of(lambda: Header("10", "2023-07-30", ())) == ["/leads"]

    def test_its_leads_have_names_of_their_own_ignoring_case(self) -> None:
        leads = [a_lead_header("aVR"), a_lead_header("I"), a_lead_header("AVR")]

        assert pointers_of(lambda: a_header(*leads)) == ["/leads/0/name", "/leads/2/name"]

    @pytest.mark.parametrize("rate_hz", [1, 0.1 + 0.2 + 1, 10_000, None])
    def test_a_rate_is_1_to_10000_samples_a_second(self, rate_hz: float | None) -> None:
        assert a_header(sampling_rate_hz=rate_hz).sampling_rate_hz == rate_hz

    @pytest.mark.parametrize("rate_hz", [0, 0.999, -500, 10_000.001, math.nan, math.inf])
    def test_any_other_rate_is_refused(self, rate_hz: float) -> None:
        assert pointers_of(lambda: a_header(sampling_rate_hz=rate_hz)) == ["/sampling_rate_hz"]

    @pytest.mark.parametrize("unit", ["mv", "V", "", 1])
    def test_a_unit_is_uv_or_mv(self, unit: Any) -> None:
        assert pointers_of(lambda: a_header(unit=unit)) == ["/unit"]

    def test_it_can_not_be_changed(self) -> None:
        with pytest.raises(FrozenInstanceError):
            a_header().id = "11"  # type: ignore[misc]


def test_a_lead_without_a_name_never_repeats() -> None:
    assert repeated_names([None, "I", None]) == []


def test_of_two_leads_one_may_repeat_the_other() -> None:
    assert [problem.pointer for problem in repeated_names(["I", "i"])] == ["/leads/0/name", "/leads/1/name"]
