"""PostgreSQL's clock, estimated in this process: the one clock by which all gateways judge tokens.

Machines' clocks differ by seconds, or by hours if one is never synchronized. A token just issued by one
gateway must not be in the future for another, and an expired one must not stay valid where a clock is slow.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from shared.domain.errors import UnavailableError
from shared.observability.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

# By how much two gateways' times may still differ: after a failover to a standby with another clock, one
# gateway synchronizes up to half of `ISOLINE_REVOCATION_S` after the other.
LEEWAY_S: Final = 10.0

_log = Logger(__name__)


class DatabaseClock:
    """Extrapolates PostgreSQL's time with the monotonic clock of this machine.

    Args:
        monotonic: Seconds that never go back.
        system: This machine's clock, in seconds since 1970; a difference is only logged.
    """

    def __init__(
        self, *, monotonic: Callable[[], float] = time.monotonic, system: Callable[[], float] = time.time
    ) -> None:
        self._monotonic = monotonic
        self._system = system
        self._ahead_s: float | None = None
        self._is_logged = False

    def now(self) -> float:
        """Seconds since 1970.

        Raises:
            UnavailableError: The clock was never synchronized.
        """
        if self._ahead_s is None:
            raise UnavailableError(
                "PostgreSQL's time is not known yet", is_logged=True
            )  # by the part `tokens`
        return self._monotonic() + self._ahead_s

    def utc_now(self) -> datetime:
        """The same as a datetime in UTC."""
        return datetime.fromtimestamp(self.now(), UTC)

    def synchronize(self, database_s: float, *, asked_s: float, answered_s: float) -> None:
        """Synchronize with a time that PostgreSQL read between two times of the monotonic clock.

        A reply that took long, as when the pool was exhausted, moves the clock no further than it proves.
        """
        least, most = database_s - answered_s, database_s - asked_s
        known = (least + most) / 2 if self._ahead_s is None else self._ahead_s
        self._ahead_s = min(max(known, least), most)
        self._log_difference(self.now() - self._system())

    def _log_difference(self, ahead_s: float) -> None:
        differs = abs(ahead_s) > LEEWAY_S
        if differs and not self._is_logged:
            _log.warning(
                "this machine's clock is not PostgreSQL's; PostgreSQL's is used",
                postgres_ahead_s=round(ahead_s, 1),
            )
        self._is_logged = differs
