from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from jsonschema import Draft202012Validator

from processor.analysis import analyse
from processor.insights import INSIGHTS
from processor.insights.zero_crossings import ZERO_CROSSINGS
from shared.domain.catalogue import CATALOGUE_FILE, catalogue, catalogue_of
from shared.domain.findings import Finding
from shared.domain.insights import order_by_needs
from tests.support.builders import a_lead, a_lead_insight, an_ecg, an_ecg_insight

if TYPE_CHECKING:
    from shared.domain.ecg import Ecg
    from shared.domain.insights import Insight

_DATA: Final = Path(__file__).parents[3] / "examples" / "data"


def recorded_ecg(file: str) -> Ecg:
    body: dict[str, Any] = json.loads((_DATA / file).read_bytes())
    leads = [a_lead(lead["name"], lead["signal"], baseline=lead.get("baseline", 0)) for lead in body["leads"]]
    return an_ecg(leads=leads, sampling_rate_hz=body["sampling_rate_hz"], unit=body["unit"])


def test_zero_crossings_are_an_entry() -> None:
    assert ZERO_CROSSINGS in INSIGHTS
    assert (ZERO_CROSSINGS.name, ZERO_CROSSINGS.version) == ("zero_crossings", 1)


def test_every_entry_has_a_name_of_its_own() -> None:
    names = [insight.name for insight in INSIGHTS]

    assert len(set(names)) == len(names)


def test_every_entry_stands_behind_those_that_it_needs() -> None:
    assert order_by_needs(INSIGHTS) == INSIGHTS


def test_no_insight_has_the_name_of_another_key_of_a_result() -> None:
    assert not {insight.name for insight in INSIGHTS} & {"", "warnings", "absent"}


def test_the_catalogue_tells_insights_of_leads_from_those_of_the_ecg() -> None:
    insights: list[Insight] = [
        an_ecg_insight("rate", lambda *_: Finding(0)),
        a_lead_insight("beats", lambda *_: Finding(0)),
    ]

    described = catalogue_of(insights)

    assert [each.name for each in described.leads] == ["beats"]
    assert [each.name for each in described.ecg] == ["rate"]


def test_every_entry_has_a_version_from_1() -> None:
    assert all(insight.version >= 1 for insight in INSIGHTS)


@pytest.mark.parametrize("insight", INSIGHTS, ids=lambda insight: insight.name)
def test_every_entry_has_a_sentence_and_a_schema(insight: Insight) -> None:
    assert insight.sentence.endswith(".")
    Draft202012Validator.check_schema(insight.schema)
    assert "type" in insight.schema


@pytest.mark.parametrize("file", ["ptbxl_06004.json", "mitdb100_10s.json"])
def test_what_is_found_in_a_recording_fits_its_schema(file: str) -> None:
    schemas = {insight.name: insight.schema for insight in INSIGHTS}

    found = analyse(recorded_ecg(file), INSIGHTS)

    for outcomes in (found.ecg, *(of_lead for _, of_lead in found.leads)):
        for name, outcome in outcomes.items():
            if isinstance(outcome, Finding):
                Draft202012Validator(schemas[name]).validate(outcome.summary)


def test_the_catalogue_describes_every_entry() -> None:
    assert CATALOGUE_FILE.read_text() == catalogue_of(INSIGHTS).encoded(), "run `make catalogue`"
    assert catalogue() == catalogue_of(INSIGHTS)
