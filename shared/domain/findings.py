"""The results of insights: a summary and possibly series, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from shared.domain.lead_names import canonical_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    Arrays: TypeAlias = Mapping[str, npt.NDArray[np.generic]]

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
_NO_COUNTS: Final[Mapping[str, int]] = {}


class Finding(NamedTuple):
    """The result of one insight.

    Attributes:
        summary: The measurement, small, by the schema and in the unit of its insight.
        warnings: Codes that a reader of the summary must see, e.g. ``signal_never_near_zero``.
        counts: The number behind a warning, e.g. of missing samples, by the warning's code.
        series: Arrays by name, e.g. the sample of each beat; stored apart, never in a response or an event.
    """

    summary: JsonValue
    warnings: tuple[str, ...] = ()
    series: Arrays | None = None
    counts: Mapping[str, int] = _NO_COUNTS


@dataclass(frozen=True, slots=True)
class Absent:
    """The reason why an insight has no result, for readers who expect one."""

    reason: str


Outcome: TypeAlias = Finding | Absent


class Series(NamedTuple):
    """The arrays of one finding.

    Attributes:
        insight: The insight that found them.
        lead: The lead; None for the ECG as a whole.
        arrays: By name.
    """

    insight: str
    lead: str | None
    arrays: Arrays


@dataclass(frozen=True, slots=True)
class Insights:
    """The results of all insights for one ECG.

    Attributes:
        leads: Per lead, in the ECG's order: its name and the outcomes by insight.
        ecg: Outcomes for the ECG as a whole, by insight.
        versions: Version of each insight that was run.
    """

    leads: tuple[tuple[str, Mapping[str, Outcome]], ...]
    ecg: Mapping[str, Outcome] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)

    def document(self) -> dict[str, JsonValue]:
        """The summaries, in the JSON form that is stored, returned and published.

        ``{"leads": [{"I": {"zero_crossings": 2}}], "insights": {"zero_crossings": 1}}``; ``warnings`` with
        their counts and ``absent`` are beside the summaries, and ``ecg`` is beside ``leads``, if there are
        any; a lead with another name than its canonical one has ``canonical_name``.
        """
        document: dict[str, JsonValue] = {
            "leads": [{name: _summaries(outcomes) | _known_as(name)} for name, outcomes in self.leads],
            "insights": dict(self.versions),
        }
        if self.ecg:
            document["ecg"] = _summaries(self.ecg)
        return document

    def series(self) -> list[Series]:
        """The series of all findings that have one."""
        return [
            Series(insight, lead, outcome.series)
            for lead, outcomes in (*self.leads, (None, self.ecg))
            for insight, outcome in outcomes.items()
            if isinstance(outcome, Finding) and outcome.series
        ]


def _summaries(outcomes: Mapping[str, Outcome]) -> dict[str, JsonValue]:
    summaries: dict[str, JsonValue] = {}
    warnings: list[JsonValue] = []
    counts: dict[str, JsonValue] = {}
    absent: dict[str, JsonValue] = {}
    for name, outcome in outcomes.items():
        if isinstance(outcome, Absent):
            absent[name] = outcome.reason
        else:
            summaries[name] = outcome.summary
            warnings += outcome.warnings
            counts |= outcome.counts
    if warnings:
        summaries |= {"warnings": warnings, **counts}
    if absent:
        summaries["absent"] = absent
    return summaries


def _known_as(name: str) -> dict[str, JsonValue]:
    known_as = canonical_name(name) or name
    return {} if known_as == name else {"canonical_name": known_as}
