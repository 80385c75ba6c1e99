"""What is away for a while is told twice: when it begins, with each reason once, and when it is over."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from shared.observability.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Collection

# What fails for some and not for others, be it one table, is not over with each that does well. Who waits for
# a lock asks again after 5 s at most, and meets a time limit of 10 s then.
QUIET_S: Final = 16.0
_MOST_REASONS: Final = 32

_log = Logger(__name__)


class Outages:
    """Logs why something is not available, one record for each reason, and one once all of them are past.

    Args:
        of: What is away, for the log.
    """

    def __init__(self, of: str) -> None:
        self._of = of
        self._reasons: list[str] = []
        self._since_s = 0.0
        self._failed_s = 0.0  # the last time
        self._well_s: float | None = None  # the first time after it

    @property
    def reasons(self) -> Collection[str]:
        """Those that were told and are not over."""
        return self._reasons

    def begin(self, reason: str, *, waited_s: float = 0.0) -> None:
        """It failed for this reason, having been waited for so long."""
        now_s = time.monotonic()
        if not self._reasons:
            self._since_s = now_s - waited_s
        self._failed_s, self._well_s = now_s, None
        if reason not in self._reasons and len(self._reasons) < _MOST_REASONS:
            self._reasons.append(reason)
            _log.warning("not available", what=self._of, reason=reason)

    def end_past(self) -> None:
        """It did well: say that the outage is over, if nothing has failed for some seconds.

        It ended between the last failure and the first success after it. Where it is seldom tried these are
        far from each other, so the log has both bounds.
        """
        if not self._reasons:
            return
        now_s = time.monotonic()
        if self._well_s is None:
            self._well_s = now_s
        if now_s - self._failed_s < QUIET_S:
            return
        _log.info(
            "available again",
            what=self._of,
            reasons=self._reasons,
            lasted_at_least_s=round(self._failed_s - self._since_s, 1),
            lasted_at_most_s=round(self._well_s - self._since_s, 1),
        )
        self._reasons = []
