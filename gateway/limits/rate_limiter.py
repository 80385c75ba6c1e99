"""The rate limiter: requests per minute and address or caller, and logins per minute and address."""

from __future__ import annotations

import math
import time
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from gateway.http.problems import ProblemError

if TYPE_CHECKING:
    from gateway.http.request import Request
    from gateway.limits.counters import Counters

_WINDOW_S: Final = 60


class Policy(StrEnum):
    """The key of a limit: the address of any request, the caller, or the address of a login."""

    ADDRESS = "address"
    CALLER = "caller"
    LOGIN = "login"


class RateLimiter:
    """Counts the requests of one policy in fixed windows of a minute, and refuses those past the limit.

    Args:
        per_minute: The limit; 0 is none.
    """

    def __init__(self, policy: Policy, per_minute: int, counters: Counters) -> None:
        self._per_minute = per_minute
        # As draft-ietf-httpapi-ratelimit-headers-10 writes them.
        self._name = f'"{policy}"'
        self._policy = f"{self._name};q={per_minute};w={_WINDOW_S}"
        self._counters = counters
        self._prefix = f"rate/{policy}/"

    async def check(self, request: Request, client: str) -> None:
        """Count a request of an address or a caller, and add the rate limit's headers to its response.

        Raises:
            ProblemError: 429, it exceeds the limit.
        """
        if not self._per_minute:
            return
        counted = await self._counters.count(self._prefix + client, _WINDOW_S)
        count = counted.value
        resets_in_s = math.ceil(counted.expires_at - time.monotonic()) or 1
        remaining = self._per_minute - count if count < self._per_minute else 0
        request.add_rate_limit(self._policy, f"{self._name};r={remaining};t={resets_in_s}")
        if count > self._per_minute:
            detail = f"More than {self._per_minute} requests in a minute; wait {resets_in_s} s."
            headers = {"Retry-After": str(resets_in_s)}
            raise ProblemError(HTTPStatus.TOO_MANY_REQUESTS, detail, headers=headers)
