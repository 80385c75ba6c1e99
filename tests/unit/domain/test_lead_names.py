from __future__ import annotations

import pytest

from shared.domain.header import repeated_leads
from shared.domain.lead_names import canonical_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("I", "I"),
        ("i", "I"),
        ("MDC_ECG_ELEC_POTL_I", "I"),
        ("MDC_ECG_LEAD_V6", "V6"),
        ("mdc_ecg_elec_potl_avr", "aVR"),
        ("ECG I", "I"),
        ("EKG  ii", "II"),
        ("Lead I (Einthoven)", "I"),
        ("Lead aVF", "aVF"),
        ("aVR, augmented voltage, right", "aVR"),
        ("AVR", "aVR"),
        ("avr", "aVR"),
        ("MLII", "MLII"),
        ("ECG Lead mlii", "MLII"),
        ("V3r", "V3R"),
        ("DIII", "III"),
    ],
)
def test_a_lead_is_known_by_one_name_whatever_a_device_calls_it(name: str, expected: str) -> None:
    assert canonical_name(name) == expected


@pytest.mark.parametrize("name", ["-aVR", "ECG 1", "ECG", "1", "V10", "V0", "IV", "V1 µ", "Lead", "", "ECGI"])
def test_a_name_that_may_mean_something_else_is_not_guessed_at(name: str) -> None:
    assert canonical_name(name) is None


def test_two_names_of_one_lead_repeat_each_other() -> None:
    names = ["MDC_ECG_ELEC_POTL_I", None, "V1", "ecg i", "Lead 7", "LEAD 7", "V2"]

    assert [problem.pointer for problem in repeated_leads(names)] == [
        f"/leads/{index}/name" for index in (0, 3, 4, 5)
    ]
