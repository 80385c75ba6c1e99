"""Poison that tests plant: an insight that raises, or kills the process, for a signal nobody sends by chance.

There is none unless the failpoint ``poison`` is set, see `shared.runtime.failpoint`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.domain.findings import Finding
from shared.domain.insights import LeadInsight
from shared.runtime import failpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.domain.insights import Insight, Signal

RAISES: Final = (-31337, 31337, -31337, 31337)
KILLS: Final = (31337, -31337, 31337, -31337)


def planted_insights() -> tuple[Insight, ...]:
    """The poisonous insight if a test asked for it."""
    return (_PLANTED,) if failpoint.is_planted("poison") else ()


def _measure(signal: Signal, _earlier: Mapping[str, Finding]) -> Finding:
    start = tuple(signal.lead.signal[:4].tolist())
    if start == RAISES:
        raise ValueError("planted")
    if start == KILLS:
        failpoint.kill()
    return Finding(0)


_PLANTED: Final = LeadInsight(
    name="planted", version=1, sentence="Poison.", schema={"const": 0}, measure=_measure
)
