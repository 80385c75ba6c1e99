from __future__ import annotations

from shared.domain.insights import Finding, Insights


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


def test_findings_about_the_whole_ecg_stand_beside_the_leads() -> None:
    insights = Insights((("I", {}),), {"heart_rate": Finding(61.5, ("irregular",))}, {"heart_rate": 2})

    assert insights.document() == {
        "leads": [{"I": {}}],
        "ecg": {"heart_rate": 61.5, "warnings": ["irregular"]},
        "insights": {"heart_rate": 2},
    }
