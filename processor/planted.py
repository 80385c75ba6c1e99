"""Poison that tests plant: an insight that raises, or kills the process, for a signal nobody sends by chance.

There is none unless the failpoint ``poison`` is set, see `shared.failpoint`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared import failpoint
from shared.domain.insights import Finding, LeadInsight

if TYPE_CHECKING:
    from shared.domain.ecg import Lead
    from shared.domain.insights import Insight

RAISES: Final = (-31337, 31337, -31337, 31337)
KILLS: Final = (31337, -31337, 31337, -31337)


def planted_insights() -> tuple[Insight, ...]:
    """The poisonous insight if a test asked for it."""
    return (LeadInsight("planted", version=1, measure=_measure),) if failpoint.is_planted("poison") else ()


def _measure(lead: Lead) -> Finding:
    start = tuple(lead.signal[:4].tolist())
    if start == RAISES:
        raise ValueError("planted")
    if start == KILLS:
        failpoint.kill()
    return Finding(0, ())
