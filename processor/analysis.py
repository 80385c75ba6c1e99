"""Analyse an ECG: run every insight of the registry on each lead or on the whole ECG."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import orjson

from shared.domain.errors import AnalysisError
from shared.domain.findings import Absent, Finding, Insights
from shared.domain.insights import NOTHING, LeadInsight, RequiredFindings, Signal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from shared.domain.ecg import Ecg
    from shared.domain.findings import Outcome
    from shared.domain.insights import EcgInsight, Insight, Needs

_Subject = TypeVar("_Subject")
_Required = TypeVar("_Required")


def analyse(ecg: Ecg, insights: Sequence[Insight], *, spent_s: dict[str, float] | None = None) -> Insights:
    """The results of these insights for an ECG; an insight whose needs are not met is absent.

    Args:
        ecg: Any.
        insights: In the order of `shared.domain.insights.order_by_needs`.
        spent_s: By insight; what each of these took is added.

    Raises:
        AnalysisError: An insight raised, or returned a value that JSON can't hold; names it and the lead.
    """
    rate_hz, unit = ecg.header.sampling_rate_hz, ecg.header.unit
    signals = [Signal(lead, lead.header.sampling_rate_hz or rate_hz, unit) for lead in ecg.leads]
    leads: list[tuple[str, dict[str, Outcome]]] = [(lead.name, {}) for lead in ecg.leads]
    whole: dict[str, Outcome] = {}
    for insight in insights:
        began_s = time.perf_counter()
        if isinstance(insight, LeadInsight):
            for signal, (_, outcomes) in zip(signals, leads, strict=True):
                outcomes[insight.name] = _of_lead(insight, signal, outcomes)
        else:
            whole[insight.name] = _of_ecg(
                insight, ecg, signals, _required_findings(insight.needs, leads, whole)
            )
        if spent_s is not None:
            spent_s[insight.name] = spent_s.get(insight.name, 0.0) + time.perf_counter() - began_s
    return Insights(tuple(leads), whole, {insight.name: insight.version for insight in insights})


def _of_lead(insight: LeadInsight, signal: Signal, outcomes: Mapping[str, Outcome]) -> Outcome:
    if insight.needs is NOTHING:
        return _measure(insight.measure, signal, {}, insight.name, signal.lead.name)
    required = _found(insight.needs, outcomes)
    missing = _missing(insight.needs, [signal], required)
    if missing is not None:
        return Absent(missing)
    return _measure(insight.measure, signal, required, insight.name, signal.lead.name)


def _of_ecg(insight: EcgInsight, ecg: Ecg, signals: Sequence[Signal], required: RequiredFindings) -> Outcome:
    missing = _missing(insight.needs, signals, required.ecg.keys() | required.leads)
    if missing is not None:
        return Absent(missing)
    return _measure(insight.measure, ecg, required, insight.name)


def _required_findings(
    needs: Needs, leads: Sequence[tuple[str, Mapping[str, Outcome]]], whole: Mapping[str, Outcome]
) -> RequiredFindings:
    of_leads: dict[str, dict[str, Finding]] = {}
    for lead, outcomes in leads:
        for insight, finding in _found(needs, outcomes).items():
            of_leads.setdefault(insight, {})[lead] = finding
    return RequiredFindings(_found(needs, whole), of_leads)


def _found(needs: Needs, outcomes: Mapping[str, Outcome]) -> dict[str, Finding]:
    return {name: outcome for name in needs.insights if isinstance(outcome := outcomes.get(name), Finding)}


def _missing(needs: Needs, signals: Sequence[Signal], found: Collection[str]) -> str | None:
    """The first need of an insight that is not met, in words for readers of the result; None if all are."""
    needs_rate = needs.sampling_rate or needs.length_s > 0
    if needs_rate and any(signal.sampling_rate_hz is None for signal in signals):
        return "needs sampling_rate_hz"
    if needs.unit and signals[0].unit is None:  # each has that of the ECG
        return "needs unit"
    if max(signal.length_s for signal in signals) < needs.length_s:
        return f"needs {needs.length_s:g} s of signal"
    missing = [name for name in needs.insights if name not in found]
    return f"needs {', '.join(missing)}" if missing else None


def _measure(
    measure: Callable[[_Subject, _Required], Outcome],
    subject: _Subject,
    required: _Required,
    insight: str,
    lead: str | None = None,
) -> Outcome:
    try:
        outcome = measure(subject, required)
        if not isinstance(outcome, Absent):
            orjson.dumps(
                [outcome.summary, outcome.warnings, outcome.counts]
            )  # NumPy's numbers are not JSON's
    except Exception as error:
        what = insight if lead is None else f"{insight} of lead {lead}"
        raise AnalysisError(f"{what} could not be measured: {type(error).__name__}") from error
    return outcome
