from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from processor.analysis import analyse
from shared.domain.errors import AnalysisError
from shared.domain.insights import EcgInsight, Finding, LeadInsight
from tests.builders import a_lead, an_ecg

if TYPE_CHECKING:
    from shared.domain.ecg import Ecg, Lead


def _length(lead: Lead) -> Finding:
    return Finding(lead.signal.size)


def _number_of_leads(ecg: Ecg) -> Finding:
    return Finding(len(ecg.leads), ("few",))


def _crash(_: object) -> Finding:
    raise ZeroDivisionError("776655")


_LENGTH = LeadInsight("length", 3, _length)
_NUMBER_OF_LEADS = EcgInsight("number_of_leads", 2, _number_of_leads)


def test_every_insight_is_measured_on_every_lead_or_on_the_whole() -> None:
    ecg = an_ecg(leads=[a_lead("I", [1, 2]), a_lead("II", [1])])

    found = analyse(ecg, [_LENGTH, _NUMBER_OF_LEADS])

    assert found.leads == (("I", {"length": Finding(2)}), ("II", {"length": Finding(1)}))
    assert found.ecg == {"number_of_leads": Finding(2, ("few",))}
    assert found.versions == {"length": 3, "number_of_leads": 2}


def test_without_insights_the_leads_are_still_named() -> None:
    assert analyse(an_ecg(), []).document() == {"leads": [{"I": {}}], "insights": {}}


def test_an_insight_that_raises_on_a_lead_is_named_with_the_lead_and_without_samples() -> None:
    with pytest.raises(AnalysisError) as caught:
        analyse(an_ecg(), [_LENGTH, LeadInsight("broken", 1, _crash)])

    assert str(caught.value) == "broken of lead I could not be measured: ZeroDivisionError"


def test_an_insight_that_raises_on_the_whole_is_named() -> None:
    with pytest.raises(AnalysisError) as caught:
        analyse(an_ecg(), [EcgInsight("broken", 1, _crash)])

    assert str(caught.value) == "broken could not be measured: ZeroDivisionError"


def test_an_insight_that_finds_nothing_at_all_is_broken() -> None:
    with pytest.raises(AnalysisError, match="forgetful of lead I could not be measured: AttributeError"):
        analyse(an_ecg(), [LeadInsight("forgetful", 1, lambda _: None)])  # type: ignore[arg-type,return-value]
