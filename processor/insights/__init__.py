"""The registry of insights: one import line each; `make catalogue` writes it for the other services."""

from __future__ import annotations

from typing import Final

from processor.insights.zero_crossings import ZERO_CROSSINGS as ZERO_CROSSINGS
from shared.domain.insights import EcgInsight, Insight, LeadInsight, order_by_needs

INSIGHTS: Final[tuple[Insight, ...]] = order_by_needs(
    imported for imported in vars().values() if isinstance(imported, LeadInsight | EcgInsight)
)
