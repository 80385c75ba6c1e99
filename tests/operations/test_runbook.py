"""The runbook names parts, metrics, messages and settings that exist, and has what points to it."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
import yaml
from prometheus_client import REGISTRY

from shared.runtime.settings import EmbeddedSettings, GatewaySettings, ProcessorSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.storage.pool.database import Database

_ROOT: Final = Path(__file__).parents[2]
_RUNBOOK: Final = (_ROOT / "docs/runbook.md").read_text()
_OPERATIONS: Final = (_ROOT / "docs/operations.md").read_text()
_HEADINGS: Final = re.findall(r"^## (.+)$", _RUNBOOK, re.MULTILINE)
_ANCHORS: Final = {heading.lower().replace(" ", "-") for heading in _HEADINGS}
_PACKAGES: Final = ("gateway", "processor", "shared", "isoline")


def _sources() -> Iterator[str]:
    for package in _PACKAGES:
        for path in (_ROOT / package).rglob("*.py"):
            yield path.read_text()


@pytest.mark.parametrize("heading", _HEADINGS)
def test_a_section_says_how_it_shows_how_to_confirm_what_to_do_and_when_it_is_over(heading: str) -> None:
    section = _RUNBOOK.split(f"\n## {heading}\n")[1].split("\n## ")[0]

    words = re.findall(r"^\*\*(\w+)", section, re.MULTILINE)

    assert words == ["Shows", "Confirm", "Do", "Over"]


def test_each_message_of_the_log_is_one_that_the_code_logs() -> None:
    messages = set(re.findall(r"[Ll]og\s+`([^`]+)`", _RUNBOOK))
    logged = {
        message for source in _sources() for message in re.findall(r"_log\.\w+\(\s*\"([^\"]+)\"", source)
    }

    assert len(messages) > 15
    assert messages - logged == set()


def test_each_part_of_health_is_one_that_the_page_of_operations_explains() -> None:
    parts = set(re.findall(r"[Pp]arts?\s+`(\w+)`", _RUNBOOK))
    rows = re.findall(r"^\| (`.*`) \| (?:all|gateway|processor) \|", _OPERATIONS, re.MULTILINE)

    assert len(parts) > 6
    assert parts <= {part for row in rows for part in re.findall(r"`(\w+)`", row)}


def test_each_metric_is_exposed() -> None:
    for service in ("gateway.__main__", "processor.__main__"):
        import_module(service)
    exposed = {family.name for family in REGISTRY.collect()}
    named = set(re.findall(r"\b(isoline_\w+|process_\w+_bytes)", _RUNBOOK))

    assert len(named) > 12
    assert {re.sub("_total$|_info$", "", name) for name in named} - {
        re.sub("_info$", "", name) for name in exposed
    } == set()


def test_each_setting_exists() -> None:
    named = set(re.findall(r"\bISOLINE_(\w+)", _RUNBOOK))
    known = {
        name.upper()
        for kind in (GatewaySettings, ProcessorSettings, EmbeddedSettings)
        for name in kind.model_fields
    }

    assert named - known == set()


def test_whatever_points_to_the_runbook_finds_its_section() -> None:
    alerts = yaml.safe_load((_ROOT / "deploy/observability/alerts.yml").read_text())["groups"]
    pointers = [rule["annotations"]["runbook"] for group in alerts for rule in group["rules"]]
    sections = re.findall(r"section=\"([\w-]+)\"", (_ROOT / "isoline/cli/doctor_checks.py").read_text())

    assert len(sections) > 10
    assert {pointer.removeprefix("docs/runbook.md#") for pointer in pointers} <= _ANCHORS
    assert set(sections) <= _ANCHORS


async def test_each_statement_can_be_executed(database: Database) -> None:
    statements = re.findall(r"`(SELECT [^`]+)`|^(SELECT .+);$", _RUNBOOK, re.MULTILINE)

    assert len(statements) > 5
    async with database.connection() as connection:
        for in_a_sentence, in_a_block in statements:
            await connection.fetch(in_a_sentence or in_a_block)
