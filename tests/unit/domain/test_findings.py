from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from shared.domain.findings import Absent, Finding, Insights, Series

if TYPE_CHECKING:
    from shared.domain.findings import Outcome


def test_a_document_has_the_findings_of_each_lead_in_the_order_of_the_ecg() -> None:
    insights = Insights(
        leads=(("V1", {"zero_crossings": Finding(1)}), ("I", {"zero_crossings": Finding(2)})),
        versions={"zero_crossings": 1},
    )

    assert insights.document() == {
        "leads": [{"V1": {"zero_crossings": 1}}, {"I": {"zero_crossings": 2}}],
        "insights": {"zero_crossings": 1},
    }


def test_warnings_stand_beside_the_values_that_they_belong_to() -> None:
    findings = {"a": Finding(1, ("one", "two")), "b": Finding(2), "c": Finding(3, ("three",))}

    assert Insights((("I", findings), ("II", {"a": Finding(0)}))).document()["leads"] == [
        {"I": {"a": 1, "b": 2, "c": 3, "warnings": ["one", "two", "three"]}},
        {"II": {"a": 0}},
    ]


def test_a_warning_is_followed_by_how_many_it_speaks_of() -> None:
    finding = Finding(1, ("missing_samples",), counts={"missing_samples": 7})

    assert Insights((("I", {"a": finding}),)).document()["leads"] == [
        {"I": {"a": 1, "warnings": ["missing_samples"], "missing_samples": 7}}
    ]


def test_a_lead_under_another_name_than_its_canonical_one_has_both() -> None:
    insights = Insights((("I", {}), ("avr", {}), ("ECG 1", {})))

    assert insights.document()["leads"] == [{"I": {}}, {"avr": {"canonical_name": "aVR"}}, {"ECG 1": {}}]


def test_findings_about_the_whole_ecg_stand_beside_the_leads() -> None:
    insights = Insights((("I", {}),), {"heart_rate": Finding(61.5, ("irregular",))}, {"heart_rate": 2})

    assert insights.document() == {
        "leads": [{"I": {}}],
        "ecg": {"heart_rate": 61.5, "warnings": ["irregular"]},
        "insights": {"heart_rate": 2},
    }


def test_why_an_insight_is_absent_stands_beside_the_values() -> None:
    of_lead: dict[str, Outcome] = {"a": Finding(1), "b": Absent("needs unit")}

    assert Insights((("I", of_lead),), {"c": Absent("needs b")}).document() == {
        "leads": [{"I": {"a": 1, "absent": {"b": "needs unit"}}}],
        "ecg": {"absent": {"c": "needs b"}},
        "insights": {},
    }


def test_series_are_kept_apart_from_the_document_and_known_by_insight_and_lead() -> None:
    beats, rr = np.array([10, 20]), np.array([10])
    insights = Insights(
        (("I", {"beats": Finding(2, series={"samples": beats})}), ("II", {"beats": Finding(0)})),
        {"rate": Finding(60, series={"rr": rr}), "other": Absent("needs unit")},
    )

    assert insights.series() == [Series("beats", "I", {"samples": beats}), Series("rate", None, {"rr": rr})]
    assert insights.document() == {
        "leads": [{"I": {"beats": 2}}, {"II": {"beats": 0}}],
        "ecg": {"rate": 60, "absent": {"other": "needs unit"}},
        "insights": {},
    }
