"""ECGs as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from isoline.client import Result, Summary


def results_table(results: Sequence[Result]) -> Table:
    """One row per lead; an ECG without leads yet has one of its own."""
    table = Table("ECG", "status", "lead", "zero crossings", "note")
    for result in results:
        who = (Text(result.id), result.status)
        if not result.leads:
            table.add_row(*who, "", "", Text(result.error or ""))
        for lead in result.leads:
            table.add_row(*who, Text(lead.name), str(lead.zero_crossings), ", ".join(lead.warnings))
    return table


def leads_table(result: Result) -> Table:
    """One row per lead of one ECG."""
    table = Table("lead", "zero crossings")
    for lead in result.leads:
        table.add_row(Text(lead.name), str(lead.zero_crossings))
    return table


def list_table(ecgs: Sequence[Summary]) -> Table:
    """One row per ECG."""
    table = Table("ECG", "status", "submitted at")
    for ecg in ecgs:
        table.add_row(Text(ecg.id), ecg.status, ecg.submitted_at)
    return table


def failures_table(errors: Mapping[str, str]) -> Table:
    """One row per file that could not be submitted, or not waited for."""
    table = Table("file", "error", title="Not done")
    for file, error in errors.items():
        table.add_row(Text(file), Text(error))
    return table
