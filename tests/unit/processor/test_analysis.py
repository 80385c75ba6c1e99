from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from processor.analysis import analyse
from shared.domain.errors import AnalysisError
from shared.domain.findings import Absent, Finding
from shared.domain.insights import Needs, RequiredFindings
from tests.support.builders import a_lead, a_lead_insight, an_ecg, an_ecg_insight

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.domain.ecg import Ecg
    from shared.domain.insights import Insight, Signal


def _length(signal: Signal, _: Mapping[str, Finding]) -> Finding:
    return Finding(signal.lead.signal.size)


def _rate_and_unit(signal: Signal, _: Mapping[str, Finding]) -> Finding:
    return Finding([signal.sampling_rate_hz, signal.unit])


def _number_of_leads(ecg: Ecg, _: RequiredFindings) -> Finding:
    return Finding(len(ecg.leads), ("few",))


def _crash(*_: object) -> Finding:
    raise ZeroDivisionError("776655")


_LENGTH = a_lead_insight("length", _length, version=3)
_NUMBER_OF_LEADS = an_ecg_insight("number_of_leads", _number_of_leads, version=2)


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
        analyse(an_ecg(), [_LENGTH, a_lead_insight("broken", _crash)])

    assert str(caught.value) == "broken of lead I could not be measured: ZeroDivisionError"


def test_an_insight_that_raises_on_the_whole_is_named() -> None:
    with pytest.raises(AnalysisError) as caught:
        analyse(an_ecg(), [an_ecg_insight("broken", _crash)])

    assert str(caught.value) == "broken could not be measured: ZeroDivisionError"


def test_an_insight_that_finds_nothing_at_all_is_broken() -> None:
    with pytest.raises(AnalysisError, match="forgetful of lead I could not be measured: AttributeError"):
        analyse(an_ecg(), [a_lead_insight("forgetful", lambda *_: None)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "finding",
    [Finding(np.int64(1)), Finding(1, (np.int64(1),)), Finding(1, counts={"flat": np.int64(1)})],  # type: ignore[arg-type,dict-item]
)
def test_an_insight_whose_finding_is_no_json_is_broken(finding: Finding) -> None:
    with pytest.raises(AnalysisError, match="strange of lead I could not be measured: TypeError"):
        analyse(an_ecg(), [a_lead_insight("strange", lambda *_: finding)])


class TestNeeds:
    @pytest.mark.parametrize(
        ("needs", "reason"),
        [
            (Needs(sampling_rate=True), "needs sampling_rate_hz"),
            (Needs(unit=True), "needs unit"),
            (Needs(length_s=0.001), "needs sampling_rate_hz"),
            (Needs(sampling_rate=True, unit=True), "needs sampling_rate_hz"),
        ],
    )
    def test_what_the_ecg_does_not_say_makes_an_insight_absent(self, needs: Needs, reason: str) -> None:
        of_leads = a_lead_insight("of_leads", _crash, needs=needs)
        whole = an_ecg_insight("whole", _crash, needs=needs)

        found = analyse(an_ecg(), [of_leads, whole])

        assert found.document() == {
            "leads": [{"I": {"absent": {"of_leads": reason}}}],
            "ecg": {"absent": {"whole": reason}},
            "insights": {"of_leads": 1, "whole": 1},
        }

    def test_an_insight_of_the_ecg_needs_the_rate_of_each_lead(self) -> None:
        ecg = an_ecg(leads=[a_lead("I", sampling_rate_hz=250.0), a_lead("II")])
        insight = an_ecg_insight("whole", _crash, needs=Needs(sampling_rate=True))

        assert analyse(ecg, [insight]).ecg == {"whole": Absent("needs sampling_rate_hz")}

    def test_with_all_that_it_needs_an_insight_is_found(self) -> None:
        needs = Needs(sampling_rate=True, unit=True, length_s=0.006)
        insights: list[Insight] = [
            a_lead_insight("rate", _rate_and_unit, needs=needs),
            an_ecg_insight("number_of_leads", _number_of_leads, needs=needs),
        ]

        found = analyse(an_ecg(sampling_rate_hz=500, unit="mV"), insights)

        assert found.leads == (("I", {"rate": Finding([500, "mV"])}),)
        assert found.ecg == {"number_of_leads": Finding(1, ("few",))}

    def test_a_lead_that_is_too_short_is_alone_without_the_insight(self) -> None:
        ecg = an_ecg(leads=[a_lead("I", [1] * 5), a_lead("II", [1] * 4)], sampling_rate_hz=2)
        insights: list[Insight] = [
            a_lead_insight("length", _length, needs=Needs(length_s=2.5)),
            an_ecg_insight("number_of_leads", _number_of_leads, needs=Needs(length_s=2.5)),
            an_ecg_insight("longer", _number_of_leads, needs=Needs(length_s=2.6)),
        ]

        found = analyse(ecg, insights)

        assert found.leads == (
            ("I", {"length": Finding(5)}),
            ("II", {"length": Absent("needs 2.5 s of signal")}),
        )
        assert found.ecg == {
            "number_of_leads": Finding(2, ("few",)),
            "longer": Absent("needs 2.6 s of signal"),
        }

    def test_an_insight_is_given_what_those_that_it_needs_found_in_the_same_lead(self) -> None:
        insights: list[Insight] = [
            _LENGTH,
            a_lead_insight("other", _length),
            a_lead_insight(
                "earlier",
                lambda _, required: Finding({name: finding.summary for name, finding in required.items()}),
                needs=Needs(insights=("length",)),
            ),
        ]

        found = analyse(an_ecg(leads=[a_lead("I", [1, 2]), a_lead("II", [1])]), insights)

        assert [of_lead["earlier"] for _, of_lead in found.leads] == [
            Finding({"length": 2}),
            Finding({"length": 1}),
        ]

    def test_an_insight_of_the_ecg_is_given_what_was_found_in_the_leads_and_in_the_whole(self) -> None:
        given: list[RequiredFindings] = []

        def note(_: Ecg, required: RequiredFindings) -> Finding:
            given.append(required)
            return Finding(0)

        insights: list[Insight] = [
            a_lead_insight("length", _length, needs=Needs(length_s=1)),
            _NUMBER_OF_LEADS,
            an_ecg_insight("noting", note, needs=Needs(insights=("length", "number_of_leads"))),
        ]

        analyse(an_ecg(leads=[a_lead("I", [1, 2]), a_lead("II", [1])], sampling_rate_hz=2), insights)

        assert given == [
            RequiredFindings(
                ecg={"number_of_leads": Finding(2, ("few",))}, leads={"length": {"I": Finding(2)}}
            )
        ]

    def test_what_needs_an_absent_insight_is_absent_too(self) -> None:
        insights: list[Insight] = [
            a_lead_insight("rhythm", _length, needs=Needs(sampling_rate=True)),
            a_lead_insight("rate", _length, needs=Needs(insights=("rhythm",))),
            an_ecg_insight("agreement", _number_of_leads, needs=Needs(insights=("rhythm", "rate"))),
            an_ecg_insight("variability", _number_of_leads, needs=Needs(insights=("agreement",))),
        ]

        found = analyse(an_ecg(), insights)

        assert found.leads == (
            ("I", {"rhythm": Absent("needs sampling_rate_hz"), "rate": Absent("needs rhythm")}),
        )
        assert found.ecg == {
            "agreement": Absent("needs rhythm, rate"),
            "variability": Absent("needs agreement"),
        }

    def test_an_insight_may_say_itself_that_it_found_nothing(self) -> None:
        insight = a_lead_insight("rate", lambda *_: Absent("fewer than 3 beats"))

        assert analyse(an_ecg(), [insight]).leads == (("I", {"rate": Absent("fewer than 3 beats")}),)


def test_a_lead_is_measured_with_its_own_rate_if_it_has_one() -> None:
    ecg = an_ecg(leads=[a_lead("I"), a_lead("II", sampling_rate_hz=62.5)], sampling_rate_hz=500.0)
    rate = a_lead_insight("rate", lambda signal, _: Finding(signal.sampling_rate_hz))

    found = analyse(ecg, [rate])

    assert [outcomes["rate"] for _, outcomes in found.leads] == [Finding(500.0), Finding(62.5)]


def test_a_lead_that_was_sent_under_another_name_has_its_canonical_name_beside_it() -> None:
    ecg = an_ecg(leads=[a_lead("II"), a_lead("MDC_ECG_ELEC_POTL_AVR"), a_lead("ECG 1")])

    assert analyse(ecg, []).document()["leads"] == [
        {"II": {}},
        {"MDC_ECG_ELEC_POTL_AVR": {"canonical_name": "aVR"}},
        {"ECG 1": {}},
    ]
