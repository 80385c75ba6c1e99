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
        self._seen_s: dict[str, float] = {}
        self._since_s = 0.0

    @property
    def reasons(self) -> Collection[str]:
        """Those that were told and are not over."""
        return self._seen_s.keys()

    def begin(self, reason: str, *, waited_s: float = 0.0) -> None:
        """It failed for this reason, having been waited for so long."""
        now_s = time.monotonic()
        if not self._seen_s:
            self._since_s = now_s - waited_s
        if reason not in self._seen_s:
            if len(self._seen_s) == _MOST_REASONS:
                return
            _log.warning("not available", what=self._of, reason=reason)
        self._seen_s[reason] = now_s

    def end_past(self) -> None:
        """It did well: say that the outage is over, if nothing has failed for some seconds."""
        last_s = max(self._seen_s.values(), default=None)
        if last_s is None or time.monotonic() - last_s < QUIET_S:
            return
        lasted_s = round(last_s - self._since_s, 1)
        _log.info("available again", what=self._of, reasons=list(self._seen_s), lasted_s=lasted_s)
        self._seen_s.clear()
