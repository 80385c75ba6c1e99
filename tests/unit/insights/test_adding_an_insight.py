"""An insight is one new file and one line: in a copy of the code one is added and seen where it should be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from jsonschema import Draft202012Validator

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROOT: Final = Path(__file__).parents[3]
_WITHIN_S: Final = 60

# The new file.
_DURATION: Final = '''
"""How long a lead lasts."""

from shared.domain.findings import Finding
from shared.domain.insights import LeadInsight, Needs

DURATION = LeadInsight(
    name="duration",
    version=7,
    sentence="How long the lead lasts.",
    schema={"type": "number", "exclusiveMinimum": 0},
    unit="s",
    needs=Needs(sampling_rate=True),
    measure=lambda signal, _: Finding(signal.length_s),
)
'''
# The one line.
_LINE: Final = "from processor.insights.duration import DURATION as DURATION"

# What a processor finds and an event says, what the contract says and what the command line shows.
_PROGRAM: Final = """
import json, sys
from datetime import UTC, datetime

import numpy as np
from rich.console import Console

from gateway.app import contract
from isoline.client import _result
from isoline.cli.ecg_tables import leads_table, results_table
from processor.analysis import analyse
from processor.insights import INSIGHTS
from shared.domain.ecg import Ecg
from shared.domain.header import Header, LeadHeader
from shared.events import EcgKey, processed_event
from shared.runtime.settings import GatewayOnlySettings

leads, signal = (LeadHeader("I", 3),), np.array([1, -1, 1], np.int16)
headers = [Header("10", "2023-07-30", leads, rate_hz) for rate_hz in (2.0, None)]
documents = [analyse(Ecg(header, [signal]), INSIGHTS).document() for header in headers]
said = {"id": "10", "status": "completed", "date": "2023-07-30", "submitted_at": "2023-07-30T08:00:00Z"}
answers = [{**said, "generation": 1, **document} for document in documents]
console = Console(file=sys.stderr, width=200)
console.print(results_table([_result(answer) for answer in answers]))
console.print(leads_table(_result(answers[0])))
now = datetime.now(UTC)
event = processed_event(EcgKey("ada", "10"), documents[0], source="/isoline", now=now, traceparent=None)
print(json.dumps({
    "answers": answers,
    "event": json.loads(event.body)["data"],
    "schemas": contract(GatewayOnlySettings())["components"]["schemas"],
}))
"""


def run(folder: Path, *arguments: str) -> tuple[str, str]:
    """Standard output and standard error of a Python in the copy."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ISOLINE_")}
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_WITHIN_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """The results, events, contract and tables of a copy of the code with the new insight."""
    folder = tmp_path_factory.mktemp("copy")
    for package in ("gateway", "isoline", "processor", "shared"):
        shutil.copytree(_ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    insights = folder / "processor" / "insights"
    (insights / "duration.py").write_text(_DURATION)
    registry = insights / "__init__.py"
    registry.write_text(registry.read_text().replace("\nfrom processor", f"\n{_LINE}\nfrom processor", 1))
    run(folder, "-m", "processor.insights")
    printed, tables = run(folder, "-c", _PROGRAM)
    return {**json.loads(printed), "tables": tables}


def test_it_is_measured_and_answered(seen: Mapping[str, Any]) -> None:
    [with_rate, without] = seen["answers"]

    assert with_rate["leads"][0]["I"]["duration"] == 1.5
    assert with_rate["insights"]["duration"] == 7
    assert without["leads"][0]["I"]["absent"] == {"duration": "needs sampling_rate_hz"}


def test_events_contain_it(seen: Mapping[str, Any]) -> None:
    assert seen["event"]["leads"][0]["I"]["duration"] == 1.5


def test_the_contract_describes_it(seen: Mapping[str, Any]) -> None:
    properties = seen["schemas"]["LeadFindings"]["properties"]

    assert properties["duration"] == {
        "type": "number",
        "exclusiveMinimum": 0,
        "description": "How long the lead lasts.",
        "x-isoline-unit": "s",
    }


def test_responses_fit_the_contract(seen: Mapping[str, Any]) -> None:
    validator = Draft202012Validator(
        {"$ref": "#/components/schemas/EcgAnswer", "components": {"schemas": seen["schemas"]}}
    )

    assert [error.message for answer in seen["answers"] for error in validator.iter_errors(answer)] == []


def test_the_command_line_has_a_column_for_it(seen: Mapping[str, Any]) -> None:
    assert seen["tables"].count("duration (s)") == 2
    assert seen["tables"].count("1.5") == 2
    assert "duration needs sampling_rate_hz" in seen["tables"]
