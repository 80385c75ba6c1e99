"""Log an outage when it begins, once per reason, and when it is over."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from shared.observability.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Collection

# If only some calls fail, for instance those on one table, a success does not end the outage. A call that
# waits for a lock is repeated after 5 s at most and then meets its time limit of 10 s.
QUIET_S: Final = 16.0
_MOST_REASONS: Final = 32

_log = Logger(__name__)


class Outages:
    """Logs outages of a service: one record for each reason, and one when it has been available for 16 s.

    Args:
        of: The name of the service, for the log.
    """

    def __init__(self, of: str) -> None:
        self._of = of
        self._reasons: list[str] = []
        self._since_s = 0.0
        self._failed_s = 0.0  # the last failure
        self._recovered_s: float | None = None  # the first success after it

    @property
    def reasons(self) -> Collection[str]:
        """The reasons of the present outage."""
        return self._reasons

    def record_failure(self, reason: str, *, waited_s: float = 0.0) -> None:
        """A call failed for this reason, after ``waited_s``."""
        now_s = time.monotonic()
        if not self._reasons:
            self._since_s = now_s - waited_s
        self._failed_s, self._recovered_s = now_s, None
        if reason not in self._reasons and len(self._reasons) < _MOST_REASONS:
            self._reasons.append(reason)
            _log.warning("not available", what=self._of, reason=reason)

    def record_success(self) -> None:
        """A call succeeded: log the end of the outage if no call has failed for 16 s.

        The outage ended between the last failure and the first success after it. With few calls these are far
        apart, so both bounds are logged.
        """
        if not self._reasons:
            return
        now_s = time.monotonic()
        if self._recovered_s is None:
            self._recovered_s = now_s
        if now_s - self._failed_s < QUIET_S:
            return
        _log.info(
            "available again",
            what=self._of,
            reasons=self._reasons,
            lasted_at_least_s=round(self._failed_s - self._since_s, 1),
            lasted_at_most_s=round(self._recovered_s - self._since_s, 1),
        )
        self._reasons = []
