"""The rate limiter: requests a minute per address and per caller, and logins per address."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from gateway.counters import Count, Counters

_WINDOW_S: Final = 60


class Policy(StrEnum):
    """What a limit counts by: any request's address, the caller, or the address of a login."""

    ADDRESS = "address"
    CALLER = "caller"
    LOGIN = "login"


class RateLimiter:
    """Counts the requests of one policy in fixed windows of a minute.

    It only counts: `Request.spend` compares the count with the limit and refuses.

    Attributes:
        per_minute: The limit; 0 is none.
        name: The policy's name as the header `RateLimit` writes it.
        policy: The policy as the header `RateLimit-Policy` writes it.
    """

    def __init__(self, policy: Policy, per_minute: int, counters: Counters) -> None:
        self.per_minute: Final = per_minute
        self.name: Final = f'"{policy}"'
        self.policy: Final = f"{self.name};q={per_minute};w={_WINDOW_S}"
        self._counters = counters
        self._prefix = f"rate/{policy}/"

    def count(self, client: str) -> Awaitable[Count]:
        """Count a request of an address or a caller: the requests in this window, and when it ends."""
        return self._counters.count(self._prefix + client, _WINDOW_S)
