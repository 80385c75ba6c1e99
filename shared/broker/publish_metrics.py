"""Counts the outcomes of publishing, of either broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.domain.errors import UnroutableError
from shared.observability.metrics import counters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.domain.errors import UnavailableError

_PUBLISHES: Final = counters(
    "isoline_publishes_total",
    "Events that were published, by what the broker said of them.",
    outcome=("confirmed", "unrouted", "unknown"),
)


def count_publishes(outcomes: Sequence[UnroutableError | UnavailableError | None]) -> None:
    """Count what became of each event, by the outcomes of `shared.ports.broker.Publisher.publish`."""
    confirmed = outcomes.count(None)
    _PUBLISHES["confirmed"].inc(confirmed)
    if confirmed < len(outcomes):
        unrouted = sum(isinstance(outcome, UnroutableError) for outcome in outcomes)
        _PUBLISHES["unrouted"].inc(unrouted)
        _PUBLISHES["unknown"].inc(len(outcomes) - confirmed - unrouted)
