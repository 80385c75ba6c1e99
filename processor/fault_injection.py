"""Fault injection: an insight that raises, or kills the process, for certain unlikely signals.

It is added only if the failpoint ``poison`` is set, see `shared.runtime.failpoint`.
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


def injected_insights() -> tuple[Insight, ...]:
    """The faulty insight if a test asked for it, else nothing."""
    return (_POISON,) if failpoint.is_set("poison") else ()


def _measure(signal: Signal, _required: Mapping[str, Finding]) -> Finding:
    start = tuple(signal.lead.signal[:4].tolist())
    if start == RAISES:
        raise ValueError("poison")
    if start == KILLS:
        failpoint.kill()
    return Finding(0)


_POISON: Final = LeadInsight(
    name="poison", version=1, sentence="Poison.", schema={"const": 0}, measure=_measure
)
