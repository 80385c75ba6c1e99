"""PostgreSQL's clock, as this process knows it: the one clock by which all gateways judge times.

Two machines' clocks differ by seconds, and by hours where one is never set. A token that one gateway has just
made must not be from the future to another, nor may one that has ended live on where a clock is slow.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from shared.domain.errors import UnavailableError
from shared.observability.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Callable

# By what the times of two gateways may still differ: a standby that has become the primary has a clock of its
# own, and one gateway sees that up to half of `ISOLINE_REVOCATION_S` after another.
LEEWAY_S: Final = 10.0

_log = Logger(__name__)


class DatabaseClock:
    """Tells PostgreSQL's time between two of its answers, by the monotonic clock of this machine.

    Args:
        monotonic: Seconds that never go back.
        own: This machine's clock, in seconds since 1970; only compared, so that an operator hears of it.
    """

    def __init__(
        self, *, monotonic: Callable[[], float] = time.monotonic, own: Callable[[], float] = time.time
    ) -> None:
        self._monotonic = monotonic
        self._own = own
        self._ahead_s: float | None = None
        self._is_told = False

    def now(self) -> float:
        """Seconds since 1970.

        Raises:
            UnavailableError: PostgreSQL has not answered yet.
        """
        if self._ahead_s is None:
            raise UnavailableError(
                "PostgreSQL's time is not known yet", is_logged=True
            )  # by the part `tokens`
        return self._monotonic() + self._ahead_s

    def today(self) -> datetime:
        """The same as a date and time in UTC."""
        return datetime.fromtimestamp(self.now(), UTC)

    def set(self, said_s: float, *, asked_s: float, answered_s: float) -> None:
        """Take in what PostgreSQL said, at some moment between two of the monotonic clock.

        An answer that was long on its way, for a pool was empty, moves the clock no further than it proves.
        """
        least, most = said_s - answered_s, said_s - asked_s
        known = (least + most) / 2 if self._ahead_s is None else self._ahead_s
        self._ahead_s = min(max(known, least), most)
        self._tell_of_difference(self.now() - self._own())

    def _tell_of_difference(self, ahead_s: float) -> None:
        is_apart = abs(ahead_s) > LEEWAY_S
        if is_apart and not self._is_told:
            _log.warning(
                "this machine's clock is not PostgreSQL's; PostgreSQL's is used", ahead_s=round(ahead_s, 1)
            )
        self._is_told = is_apart
