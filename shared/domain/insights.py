"""Insights: named, versioned measurements of a lead or of an ECG, and their needs."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from shared.domain.ecg import Ecg, Lead
    from shared.domain.findings import Finding, JsonValue, Outcome
    from shared.domain.header import Unit


class Signal(NamedTuple):
    """A lead with its sampling rate and unit, if they are known."""

    lead: Lead
    sampling_rate_hz: float | None = None
    unit: Unit | None = None

    @property
    def length_s(self) -> float:
        """Its duration; 0 if its sampling rate is not known."""
        return self.lead.signal.size / self.sampling_rate_hz if self.sampling_rate_hz else 0.0


class RequiredFindings(NamedTuple):
    """The findings of the insights that an insight of the ECG needs.

    Attributes:
        ecg: For the ECG as a whole, by insight.
        leads: For its leads, by insight and lead; without leads for which an insight is absent.
    """

    ecg: Mapping[str, Finding]
    leads: Mapping[str, Mapping[str, Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Requirements of an insight, which is absent if one is not met; every lead must meet rate and unit.

    Attributes:
        sampling_rate: Whether the sampling rate must be known.
        unit: Whether the physical unit must be known.
        length_s: Least duration of the signal, or of an ECG's longest one; above 0 it needs a rate.
        insights: Insights whose findings it gets; for an ECG they must be found in at least one lead.
    """

    sampling_rate: bool = False
    unit: bool = False
    length_s: float = 0.0
    insights: tuple[str, ...] = ()


NOTHING: Final = Needs()


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """The name of an insight and the meaning of its summary, as data.

    Attributes:
        name: Key of its summary in results.
        version: Counts up whenever the same signal may give another summary.
        sentence: The meaning of the summary, in a sentence.
        schema: JSON schema of its summary.
        unit: Of a summary that is a number with a unit (UCUM); None for others.
        needs: Its requirements.
    """

    name: str
    version: int
    sentence: str
    schema: Mapping[str, JsonValue]
    unit: str | None = None
    needs: Needs = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadInsight(Description):
    """An insight into each lead by itself.

    Attributes:
        measure: Pure function of a signal and the findings, in the same lead, of the insights that it needs.
    """

    measure: Callable[[Signal, Mapping[str, Finding]], Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class EcgInsight(Description):
    """An insight into the ECG as a whole.

    Attributes:
        measure: Pure function of an ECG and the findings of the insights that it needs.
    """

    measure: Callable[[Ecg, RequiredFindings], Outcome]


Insight: TypeAlias = LeadInsight | EcgInsight


def order_by_needs(insights: Iterable[Insight]) -> tuple[Insight, ...]:
    """The same insights, each after those that it needs.

    Raises:
        ValueError: Two have one name, or one needs an insight that does not exist or can't run before it.
    """
    by_name: dict[str, Insight] = {}
    for insight in insights:
        if by_name.setdefault(insight.name, insight) is not insight:
            raise ValueError(f"Two insights are called {insight.name}.")
    for insight in by_name.values():
        for need in insight.needs.insights:
            _check(insight, need, by_name.get(need))
    needs = {name: insight.needs.insights for name, insight in by_name.items()}
    try:
        return tuple(by_name[name] for name in TopologicalSorter(needs).static_order())
    except CycleError as error:
        circle = " needs ".join(reversed(error.args[1]))
        raise ValueError(f"Insights can't need each other: {circle}.") from None


def _check(insight: Insight, need: str, needed: Insight | None) -> None:
    if needed is None:
        raise ValueError(f"The insight {insight.name} needs {need}, and there is none of this name.")
    if isinstance(insight, LeadInsight) and isinstance(needed, EcgInsight):
        raise ValueError(f"The insight {insight.name} of a lead needs {need}, which is of the ECG.")  # noqa: TRY004 - it is not about a type
