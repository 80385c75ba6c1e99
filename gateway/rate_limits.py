"""How often somebody may ask: per address, per caller, and per address for passwords."""

from __future__ import annotations

import math
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from limits import RateLimitItemPerMinute
from limits.aio.strategies import FixedWindowRateLimiter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from limits.aio.storage import Storage

_WINDOW_S: Final = 60


class Policy(StrEnum):
    """Whose requests are counted together."""

    ADDRESS = "address"
    CALLER = "caller"
    LOGIN = "login"


class Quota(NamedTuple):
    """What is left of a policy's requests within its window, after one more."""

    policy: Policy
    limit: int
    remaining: int
    resets_in_s: int
    is_exceeded: bool


class RateLimits:
    """Counts requests in windows of a minute.

    Args:
        counters: Where; shared between gateways or not.
        per_minute: Requests that each policy allows; 0 allows all and counts none.
    """

    def __init__(self, counters: Storage, per_minute: Mapping[Policy, int]) -> None:
        self._limiter = FixedWindowRateLimiter(counters)
        self._items = {
            policy: RateLimitItemPerMinute(limit, namespace="rate")
            for policy, limit in per_minute.items()
            if limit
        }

    async def spend(self, policy: Policy, whose: str) -> Quota | None:
        """Count a request; None where the policy is off."""
        item = self._items.get(policy)
        if item is None:
            return None
        is_allowed = await self._limiter.hit(item, policy, whose)
        resets_at, remaining = await self._limiter.get_window_stats(item, policy, whose)
        resets_in_s = max(math.ceil(resets_at - time.time()), 1)
        return Quota(policy, item.amount, remaining, resets_in_s, not is_allowed)


def rate_limit_headers(quotas: Sequence[Quota]) -> dict[str, str]:
    """``RateLimit-Policy`` and ``RateLimit`` of draft-ietf-httpapi-ratelimit-headers-10."""
    if not quotas:
        return {}
    return {
        "RateLimit-Policy": ", ".join(f'"{quota.policy}";q={quota.limit};w={_WINDOW_S}' for quota in quotas),
        "RateLimit": ", ".join(
            f'"{quota.policy}";r={quota.remaining};t={quota.resets_in_s}' for quota in quotas
        ),
    }
