"""How often somebody may ask: per address, per caller, and per address for passwords."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.counters import Count, Counters

_WINDOW_S: Final = 60


class Policy(StrEnum):
    """Whose requests are counted together."""

    ADDRESS = "address"
    CALLER = "caller"
    LOGIN = "login"


class RateLimit:
    """Counts the requests of one policy in windows of a minute.

    Args:
        counters: Where; shared between gateways or not.

    Attributes:
        per_minute: How many it allows; 0 allows all.
        name: The policy's in headers, and
        policy: all of it.
    """

    def __init__(self, policy: Policy, per_minute: int, counters: Counters) -> None:
        self.per_minute: Final = per_minute
        self.name: Final = f'"{policy}"'
        self.policy: Final = f"{self.name};q={per_minute};w={_WINDOW_S}"
        self._counters = counters
        self._prefix = f"rate/{policy}/"

    def count(self, whose: str) -> Awaitable[Count]:
        """Count a request; how many there were within the window, and when that ends."""
        return self._counters.count(self._prefix + whose, _WINDOW_S)
