"""Guessing passwords, made slow: each failure for an account from an address makes the next try wait longer.

The pair counts, not the account: whoever guesses from one address locks nobody out at another.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Final

from shared.domain.errors import TooOftenError

if TYPE_CHECKING:
    from limits.aio.storage import Storage

# People mistype; machines that need more tries than this are guessing.
FREE_TRIES: Final = 5
LONGEST_WAIT_S: Final = 300

_FORGET_AFTER_S: Final = 3600


class Guesses:
    """Counts tries before they are made, so that many at a time gain nothing."""

    def __init__(self, counters: Storage) -> None:
        self._counters = counters

    async def begin(self, name: str, address: str) -> None:
        """Count a try to log in; to be followed by `succeeded` if it does.

        After `FREE_TRIES` failures a try is followed by a pause of 1 s, 2 s, 4 s ... `LONGEST_WAIT_S`.

        Raises:
            TooOftenError: The pause is not over; nothing was counted.
        """
        tries, pause = _keys(name, address)
        if await self._counters.get(pause):
            raise await self._too_often(pause)
        count = await self._counters.incr(tries, _FORGET_AFTER_S)
        if count < FREE_TRIES:
            return
        wait_s = min(2 ** min(count - FREE_TRIES, 16), LONGEST_WAIT_S)
        # Of several at a time, the first begins the pause and the others are in it.
        if await self._counters.incr(pause, wait_s) > 1:
            raise await self._too_often(pause)

    async def succeeded(self, name: str, address: str) -> None:
        """Forget the failures: it was the right owner."""
        for key in _keys(name, address):
            await self._counters.clear(key)

    async def _too_often(self, pause: str) -> TooOftenError:
        left_s = await self._counters.get_expiry(pause) - time.time()
        return TooOftenError(
            "Too many logins with a wrong password from your address; wait before the next.",
            retry_after_s=max(left_s, 1.0),
        )


def _keys(name: str, address: str) -> tuple[str, str]:
    """Counters of bounded length, whatever somebody sends as a name."""
    pair = hashlib.sha256(f"{address} {name}".encode()).hexdigest()
    return f"guess/{pair}", f"pause/{pair}"
