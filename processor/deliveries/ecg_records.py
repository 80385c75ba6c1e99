"""Log records of single ECGs: a grep for ``"ecg":"owner/id"`` finds all that became of one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from shared.observability.logs import Logger
from shared.observability.tracing import trace_id_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from shared.domain.errors import AnalysisError
    from shared.ports.ecgs import Claim, Settlement

_log = Logger(__name__)


def log_repeated_attempt(claim: Claim) -> None:
    """Record an attempt at an ECG whose attempt before had no result, as when it ended the process."""
    _log.info("an ECG that was tried before is analysed alone", **_fields_of(claim))


def log_postponed(claim: Claim, error: AnalysisError, *, delay_s: float) -> None:
    """Record an attempt that failed and will be repeated."""
    _log.warning(
        "an analysis failed and will be tried again",
        **_fields_of(claim),
        reason=str(error),
        delay_s=round(delay_s, 1),
    )


def log_settled(settlements: Collection[Settlement]) -> None:
    """Record each ECG that was made terminal: at debug, or as a warning where it failed."""
    for settlement in settlements:
        if settlement.error is not None:
            fields = _fields_of(settlement.claim)
            _log.warning("an ECG failed", **fields, reason=settlement.error, latency_s=_latency_s(settlement))
        elif _log.is_enabled_for("debug"):
            fields = _fields_of(settlement.claim)
            _log.debug("an ECG was completed", **fields, latency_s=_latency_s(settlement))


def _fields_of(claim: Claim) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "ecg": claim.key.subject,
        "generation": claim.key.generation,
        "attempt": claim.attempt,
    }
    trace_id = trace_id_of(claim.traceparent)
    return fields if trace_id is None else {**fields, "trace_id": trace_id}


def _latency_s(settlement: Settlement) -> float:
    return round(time.monotonic() - settlement.claim.stored_s, 3)
