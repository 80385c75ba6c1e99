"""Retry with jittered exponential backoff."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final, TypeVar

from shared.domain.errors import UnavailableError
from shared.observability.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_FIRST_BACKOFF_S: Final = 0.1
_LONGEST_BACKOFF_S: Final = 5.0

_T = TypeVar("_T")
_log = Logger(__name__)


def backoff_s(
    attempt: int, *, first_s: float = _FIRST_BACKOFF_S, longest_s: float = _LONGEST_BACKOFF_S
) -> float:
    """Seconds to wait after a failed attempt (1, 2, ...): doubling up to ``longest_s``, half of it random."""
    pause_s: float = min(first_s * 2 ** min(attempt - 1, 16), longest_s)
    return pause_s * random.uniform(0.5, 1)  # nosec B311 # noqa: S311 - guessing it gains nothing


async def retry_while_unavailable(call: Callable[[], Awaitable[_T]]) -> _T:
    """Call until it does not raise UnavailableError, and return its result; the call must be idempotent."""
    attempt = 1
    while True:
        try:
            return await call()
        except UnavailableError as error:
            _log.debug("retrying an unavailable service", reason=str(error), attempt=attempt)
        await asyncio.sleep(backoff_s(attempt))
        attempt += 1
