"""What an insight is: a named, versioned measurement of a lead or of an ECG, and what it needs."""

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
    """A lead with its sampling rate and unit, where they are known."""

    lead: Lead
    sampling_rate_hz: float | None = None
    unit: Unit | None = None

    @property
    def length_s(self) -> float:
        """How long it lasts; 0 where its sampling rate is not known."""
        return self.lead.signal.size / self.sampling_rate_hz if self.sampling_rate_hz else 0.0


class Earlier(NamedTuple):
    """What the insights found that an insight of the ECG needs.

    Attributes:
        ecg: In the ECG as a whole, by insight.
        leads: In its leads, by insight and lead; without the leads in which it is absent.
    """

    ecg: Mapping[str, Finding]
    leads: Mapping[str, Mapping[str, Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Without what an insight is absent; of an ECG, each lead must have the rate and the unit.

    Attributes:
        sampling_rate: Whether it needs to know how far apart samples are.
        unit: Whether it needs to know the physical unit.
        length_s: How long the signal lasts at the least, of an ECG its longest; more than 0 needs a rate.
        insights: Those whose findings it is given; of an ECG, found in one lead at the least.
    """

    sampling_rate: bool = False
    unit: bool = False
    length_s: float = 0.0
    insights: tuple[str, ...] = ()


NOTHING: Final = Needs()


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What an insight is called and what its summary means, as data.

    Attributes:
        name: The key under which results carry its summary.
        version: Moves up whenever the same signal may give another summary.
        sentence: What it says of a lead or of an ECG.
        schema: JSON schema of its summary.
        unit: Of a summary that is a number with a unit (UCUM); None for others.
        needs: What it needs.
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
        measure: Pure function of a signal and of what the insights that it needs found in the same lead.
    """

    measure: Callable[[Signal, Mapping[str, Finding]], Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class EcgInsight(Description):
    """An insight into the ECG as a whole.

    Attributes:
        measure: Pure function of an ECG and of what the insights that it needs found in it.
    """

    measure: Callable[[Ecg, Earlier], Outcome]


Insight: TypeAlias = LeadInsight | EcgInsight


def ordered(insights: Iterable[Insight]) -> tuple[Insight, ...]:
    """The same insights, each behind those that it needs.

    Raises:
        ValueError: Two have one name, or one needs what there is not, or can't be found before it.
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
