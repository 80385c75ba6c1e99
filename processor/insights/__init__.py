"""The registry of insights: one import line each, in the order in which results carry them."""

from __future__ import annotations

from typing import Final

from processor.insights.zero_crossings import ZERO_CROSSINGS as ZERO_CROSSINGS
from shared.domain.insights import EcgInsight, Insight, LeadInsight

INSIGHTS: Final[tuple[Insight, ...]] = tuple(
    imported for imported in vars().values() if isinstance(imported, LeadInsight | EcgInsight)
)
