"""A token bucket: allows a burst, then a limited rate."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class TokenBucket:
    """Allows ``burst`` at once, and one more every ``every_s`` seconds.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, burst: int, *, every_s: float, clock: Callable[[], float]) -> None:
        self._burst = burst
        self._every_s = every_s
        self._clock = clock
        self._left = float(burst)
        self._filled_at = clock()

    def take(self) -> bool:
        """Take one if the bucket has one; returns whether it had."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._filled_at) / self._every_s)
        self._filled_at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
