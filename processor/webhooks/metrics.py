"""What a processor measures of the webhooks for which it sends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import Gauge

from shared.observability.loop_metrics import LoopHistogram
from shared.observability.metrics import DURATION_BUCKETS_S, counters

if TYPE_CHECKING:
    from shared.ports.webhook_dispatch import Attempt

_ATTEMPTS: Final = counters(
    "isoline_webhook_attempts_total",
    "Events that were sent to the receiver of a webhook.",
    outcome=("taken", "refused", "unanswered"),
)
_DURATION: Final = LoopHistogram(
    "isoline_webhook_attempt_duration_seconds",
    "From the beginning of such a request to its answer.",
    buckets=DURATION_BUCKETS_S,
).labels()
_DISABLED: Final = counters(
    "isoline_webhooks_disabled_total",
    "Webhooks that were switched off.",
    reason=("vain", "gone", "forgotten"),
)
SENDING: Final = Gauge("isoline_webhooks_sending", "Webhooks for which this processor sends just now.")
"""Set by the dispatcher."""


def count_attempt(attempt: Attempt) -> None:
    """Count an attempt, and observe what it took."""
    _DURATION.observe(attempt.duration_s)
    if attempt.is_delivered:
        _ATTEMPTS["taken"].inc()
    else:
        _ATTEMPTS["unanswered" if attempt.status is None else "refused"].inc()


def count_disabled(reason: str) -> None:
    """Count a webhook that was switched off: ``vain``, ``gone`` or ``forgotten``."""
    _DISABLED[reason].inc()
