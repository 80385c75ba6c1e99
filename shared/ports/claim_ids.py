"""Ids of processes, and ids of their claims, which name them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final, NamedTuple
from uuid import UUID, uuid4

# The last group of a UUID as it is written: milliseconds since 1970, until the year 10889.
_TIME_BITS: Final = 48
_TIMES: Final = 2**_TIME_BITS - 1
# RFC 9562 leaves the contents of version 8 to its users. Claims of before have version 4 and name nothing.
_VERSION: Final = 8
_VERSION_BITS: Final = 0xF << 76


def new_process_id() -> UUID:
    """A new id: 74 random bits, and no time in its last group."""
    bits = uuid4().int & ~_TIMES & ~_VERSION_BITS
    return UUID(int=bits | _VERSION << 76)


class ClaimIds:
    """Gives each claim of a process an id, which also says which process it is and when the claim began.

    So each ECG's row tells who tried it last, without another column.

    Args:
        process_id: Made by `new_process_id`.
    """

    def __init__(self, process_id: UUID) -> None:
        self._process = process_id.int
        self._last_ms = 0

    def next(self) -> UUID:
        """An id that was not given before: of two within a millisecond the second is put a little later."""
        self._last_ms = max(self._last_ms + 1, time.time_ns() // 1_000_000)
        return UUID(int=self._process | self._last_ms)


class ClaimOrigin(NamedTuple):
    """Where a claim comes from.

    Attributes:
        began_at: By the clock of the process.
    """

    process_id: UUID
    began_at: datetime


def origin_of_claim(claim_id: UUID) -> ClaimOrigin | None:
    """Which process made a claim, and when; None for one of a release that did not say."""
    if claim_id.version != _VERSION:
        return None
    began_at = datetime.fromtimestamp((claim_id.int & _TIMES) / 1000, UTC)
    return ClaimOrigin(UUID(int=claim_id.int & ~_TIMES), began_at)
