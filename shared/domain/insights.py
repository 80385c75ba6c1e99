"""What was found in an ECG: named, versioned measurements of its leads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from shared.domain.ecg import Ecg, Lead

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one insight found.

    Attributes:
        value: The measurement, in the unit that the insight's name or docstring gives.
        warnings: Words that a reader of the value must see, e.g. ``signal_never_near_zero``.
    """

    value: JsonValue
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LeadInsight:
    """A measurement made of each lead by itself.

    Attributes:
        name: The key under which results carry the value.
        version: Moves up whenever the same lead may give another value.
        measure: Pure function of a lead.
    """

    name: str
    version: int
    measure: Callable[[Lead], Finding]


@dataclass(frozen=True, slots=True)
class EcgInsight:
    """A measurement made of the whole ECG; otherwise like `LeadInsight`."""

    name: str
    version: int
    measure: Callable[[Ecg], Finding]


Insight: TypeAlias = LeadInsight | EcgInsight


@dataclass(frozen=True, slots=True)
class Insights:
    """All that was found in one ECG.

    Attributes:
        leads: Per lead, in the ECG's order: its name and its findings by insight name.
        ecg: Findings about the whole ECG by insight name.
        versions: Version of each insight that was measured.
    """

    leads: tuple[tuple[str, Mapping[str, Finding]], ...]
    ecg: Mapping[str, Finding] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)

    def document(self) -> dict[str, JsonValue]:
        """The JSON form that is stored, answered and published.

        ``{"leads": [{"I": {"zero_crossings": 2}}], "insights": {"zero_crossings": 1}}``; ``warnings``
        stands beside the values and ``ecg`` beside ``leads`` where there are any.
        """
        document: dict[str, JsonValue] = {
            "leads": [{name: _plain(findings)} for name, findings in self.leads],
            "insights": dict(self.versions),
        }
        if self.ecg:
            document["ecg"] = _plain(self.ecg)
        return document


def _plain(findings: Mapping[str, Finding]) -> dict[str, JsonValue]:
    plain = {name: finding.value for name, finding in findings.items()}
    warnings: list[JsonValue] = [word for finding in findings.values() for word in finding.warnings]
    return {**plain, "warnings": warnings} if warnings else plain
