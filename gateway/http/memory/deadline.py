"""The deadline of a body that is being received."""

from __future__ import annotations

import asyncio
from typing import Final

# A sender must average at least the rate of a slow phone line.
MIN_BYTES_PER_S: Final = 32 * 1024
# Bytes sent fast earlier extend the deadline by no more than this.
_MAX_CREDIT_S: Final = 30.0


class Deadline:
    """The deadline of a body; each received byte extends it.

    Args:
        limit: Ends the reading of the body.
        timeout_s: How long the limit is at first.

    Attributes:
        is_over: Whether the body is no longer being received.
        is_revoked: Whether it was ended early, by `revoke`.
    """

    def __init__(self, limit: asyncio.Timeout, timeout_s: float) -> None:
        self._limit = limit
        self._timeout_s = timeout_s
        self.is_over = False
        self.is_revoked = False

    @property
    def late_s(self) -> float:
        """How far the body is behind the minimal rate; 0.0 once it is no longer being received."""
        if self.is_over:
            return 0.0
        left = (self._limit.when() or 0.0) - asyncio.get_running_loop().time()
        return max(self._timeout_s - left, 0.0)

    def extend(self, arrived: int) -> None:
        """Extend the deadline for so many received bytes."""
        if self.is_revoked:
            return
        latest = asyncio.get_running_loop().time() + _MAX_CREDIT_S
        self._limit.reschedule(min((self._limit.when() or 0.0) + arrived / MIN_BYTES_PER_S, latest))

    def revoke(self) -> None:
        """End the body now: it is too slow for what it holds of the gateway, which others need."""
        self.is_over = self.is_revoked = True
        if not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())
