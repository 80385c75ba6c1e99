"""Measure an ECG: every insight of the registry, on every lead."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import orjson

from shared.domain.errors import AnalysisError
from shared.domain.insights import EcgInsight, Insights, LeadInsight

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from shared.domain.ecg import Ecg
    from shared.domain.insights import Finding, Insight

_Subject = TypeVar("_Subject")


def analyse(ecg: Ecg, insights: Sequence[Insight]) -> Insights:
    """All that these insights find in an ECG.

    Raises:
        AnalysisError: An insight raised, or found what JSON can't carry; names it and the lead.
    """
    per_lead = [insight for insight in insights if isinstance(insight, LeadInsight)]
    per_ecg = [insight for insight in insights if isinstance(insight, EcgInsight)]
    leads = tuple(
        (
            lead.name,
            {
                insight.name: _measured(f"{insight.name} of lead {lead.name}", insight.measure, lead)
                for insight in per_lead
            },
        )
        for lead in ecg.leads
    )
    whole = {insight.name: _measured(insight.name, insight.measure, ecg) for insight in per_ecg}
    return Insights(leads, whole, {insight.name: insight.version for insight in insights})


def _measured(what: str, measure: Callable[[_Subject], Finding], subject: _Subject) -> Finding:
    try:
        finding = measure(subject)
        orjson.dumps([finding.value, finding.warnings])  # NumPy's numbers are not JSON's
    except Exception as error:
        raise AnalysisError(f"{what} could not be measured: {type(error).__name__}") from error
    return finding
