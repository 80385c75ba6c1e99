"""Health part of the backlog: degraded while the oldest queued ECG has waited for too long.

It never fails: a service that is not ready shortens no queue, and the processors that have to work it off
are services too.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from shared.domain.errors import UnavailableError
from shared.runtime.health import HealthPart

if TYPE_CHECKING:
    from shared.ports.operators.backlog import BacklogReader

# Parts are checked once a second. To read the backlog is to read each queued ECG's row: 20,000 in 6 ms.
_READ_EVERY_S: Final = 5.0


def health_part_of_backlog_age(reader: BacklogReader, *, warning_s: float) -> HealthPart:
    """The age of the oldest queued ECG.

    Args:
        reader: Of the backlog, asked every 5 s.
        warning_s: The age above which the part is degraded.
    """
    return HealthPart(
        check=_BacklogAge(reader, warning_s).check,
        impact="Results come late; no ECG is lost.",
        fails_after_s=math.inf,
    )


class _BacklogAge:
    """The age of the oldest queued ECG, at most 5 s ago."""

    def __init__(self, reader: BacklogReader, warning_s: float) -> None:
        self._reader = reader
        self._warning_s = warning_s
        self._age_s = 0.0
        self._read_again_s = -math.inf  # by the monotonic clock

    async def check(self) -> None:
        """Return if it is not above the limit.

        Raises:
            UnavailableError: It is, or the backlog can't be read.
        """
        now_s = time.monotonic()
        if now_s >= self._read_again_s:
            self._age_s = (await self._reader.read()).oldest_ecg_s
            self._read_again_s = now_s + _READ_EVERY_S
        if self._age_s > self._warning_s:
            raise UnavailableError(
                f"the oldest queued ECG has waited for {self._age_s:.0f} s, "
                f"more than ISOLINE_BACKLOG_AGE_WARNING_S, {self._warning_s:g} s"
            )
