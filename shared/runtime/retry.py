"""Asking again what was unavailable, ever more slowly and never in step with others."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final, TypeVar

from shared.domain.errors import UnavailableError
from shared.observability.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 5.0

_T = TypeVar("_T")
_log = Logger(__name__)


def jittered_pause_s(
    attempt: int, *, first_s: float = _FIRST_PAUSE_S, longest_s: float = _LONGEST_PAUSE_S
) -> float:
    """How long to wait after the attempt (1, 2, ...): doubling, up to a longest, half of it by chance."""
    pause_s: float = min(first_s * 2 ** min(attempt - 1, 16), longest_s)
    return pause_s * random.uniform(0.5, 1)  # nosec B311 # noqa: S311 - nobody gains by guessing it


async def until_available(ask: Callable[[], Awaitable[_T]]) -> _T:
    """What ``ask`` returns, however often it is unavailable before; only for what may be asked twice."""
    attempt = 1
    while True:
        try:
            return await ask()
        except UnavailableError as error:
            _log.debug("waiting for a service to come back", reason=str(error), attempt=attempt)
        await asyncio.sleep(jittered_pause_s(attempt))
        attempt += 1
