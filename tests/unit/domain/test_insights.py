from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from shared.domain.findings import Finding
from shared.domain.insights import EcgInsight, LeadInsight, Needs, Signal, order_by_needs
from tests.support.builders import a_lead, a_lead_insight, an_ecg_insight

if TYPE_CHECKING:
    from shared.domain.insights import Insight


def of_a_lead(name: str, *needs: str) -> LeadInsight:
    return a_lead_insight(name, lambda *_: Finding(0), needs=Needs(insights=needs))


def of_the_ecg(name: str, *needs: str) -> EcgInsight:
    return an_ecg_insight(name, lambda *_: Finding(0), needs=Needs(insights=needs))


@pytest.mark.parametrize(("rate_hz", "length_s"), [(2, 1.5), (None, 0)])
def test_a_signal_lasts_as_long_as_its_rate_says(rate_hz: float | None, length_s: float) -> None:
    assert Signal(a_lead("I", [1, 2, 3]), rate_hz).length_s == length_s


def test_insights_come_behind_those_that_they_need() -> None:
    insights: list[Insight] = [
        of_the_ecg("d", "c", "a"),
        of_the_ecg("c", "b"),
        of_a_lead("b", "a"),
        of_a_lead("a"),
    ]

    assert order_by_needs(insights) == tuple(reversed(insights))


def test_insights_that_need_nothing_keep_their_order() -> None:
    insights = (of_a_lead("b"), of_the_ecg("c"), of_a_lead("a"))

    assert order_by_needs(insights) == insights


@pytest.mark.parametrize(
    ("insights", "sentence"),
    [
        ([of_a_lead("a", "b")], "The insight a needs b, and there is none of this name."),
        ([of_a_lead("a", "a")], "Insights can't need each other: a needs a."),
        (
            [of_a_lead("a", "b"), of_a_lead("b", "c"), of_a_lead("c", "a")],
            "Insights can't need each other: a needs b needs c needs a.",
        ),
        (
            [of_a_lead("a", "b"), of_the_ecg("b")],
            "The insight a of a lead needs b, which is of the ECG.",
        ),
        ([of_a_lead("a"), of_the_ecg("a")], "Two insights are called a."),
    ],
)
def test_needs_that_can_not_be_met_are_reported_in_one_sentence(
    insights: list[Insight], sentence: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        order_by_needs(insights)
