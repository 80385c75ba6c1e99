"""Tables of ECGs for the terminal, with a column for each insight of the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from shared.domain.catalogue import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from isoline.client import Result, Summary
    from shared.domain.insights import Description


def results_table(results: Sequence[Result]) -> Table:
    """One row per lead, preceded by one for the ECG as a whole if it has findings."""
    insights = [*catalogue().leads, *catalogue().ecg]
    table = Table("ECG", "status", "lead", *map(_heading, insights), "note")
    for result in results:
        for lead, findings in _rows(result):
            cells = _cells(findings, insights)
            table.add_row(Text(result.id), _status(result), Text(lead), *cells, Text(_note(result, findings)))
    return table


def leads_table(result: Result) -> Table:
    """One row per lead of one ECG."""
    insights = catalogue().leads
    table = Table("lead", *map(_heading, insights))
    for lead in result.leads:
        table.add_row(Text(lead.name), *_cells(lead.findings, insights))
    return table


def list_table(ecgs: Sequence[Summary]) -> Table:
    """One row per ECG."""
    table = Table("ECG", "status", "submitted at")
    for ecg in ecgs:
        table.add_row(Text(ecg.id), _status(ecg), ecg.submitted_at)
    return table


def failures_table(errors: Mapping[str, str]) -> Table:
    """One row per file that could not be submitted, or not waited for."""
    table = Table("file", "error", title="Not done")
    for file, error in errors.items():
        table.add_row(Text(file), Text(error))
    return table


def _rows(result: Result) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if result.ecg or not result.leads:
        yield "", result.ecg
    for lead in result.leads:
        yield lead.name, lead.findings


def _heading(insight: Description) -> str:
    name = insight.name.replace("_", " ")
    return f"{name} ({insight.unit})" if insight.unit else name


def _cells(findings: Mapping[str, Any], insights: Iterable[Description]) -> list[Text]:
    return [Text(_shown(findings.get(insight.name, ""))) for insight in insights]


def _shown(summary: Any) -> str:
    """A number as it is, a dictionary as names with values."""
    if isinstance(summary, dict):
        return ", ".join(f"{name} {_shown(value)}" for name, value in summary.items())
    return str(summary)


def _note(result: Result, findings: Mapping[str, Any]) -> str:
    absent = (f"{name} {reason}" for name, reason in findings.get("absent", {}).items())
    return result.error or ", ".join([*findings.get("warnings", ()), *absent])


def _status(ecg: Result | Summary) -> str:
    return f"{ecg.status}, analysed again" if ecg.is_analysed_again else ecg.status
