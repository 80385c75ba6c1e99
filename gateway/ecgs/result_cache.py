"""Results as they are answered. A finished one is kept for a few seconds, within a number of bytes.

A result never changes within its generation, so it may be kept, unless the next generation is queued already;
an erasure or a replay through another gateway is not heard of here, so it may not be kept for long.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from gateway.http.responses import JSON, Head
from shared.ports.ecgs import Status

if TYPE_CHECKING:
    from gateway.ecgs.lookup_batcher import Owned
    from gateway.ecgs.result_waiter import Waiting
    from shared.ports.ecgs import EcgState

# Within so many seconds an erased ECG is gone from every gateway.
MAX_AGE_S: Final = 5.0

# What an entry takes beside its body: keys, tuples, headers, the head and the dictionary's slot.
_ENTRY_BYTES: Final = 1536
_TAG_BYTES: Final = 16

_HEADERS: Final = {
    "Content-Type": JSON,
    # A browser may keep a result, but only for its owner, and asks each time whether it is still there.
    "Cache-Control": "private, no-cache",
}


class Result(NamedTuple):
    """How an ECG stands, as an answer.

    Attributes:
        head: What goes with it; among it the entity tag of what was found.
        body: JSON.
    """

    head: Head
    body: bytes


class _Entry(NamedTuple):
    result: Result
    looked_up_at: float

    @property
    def size(self) -> int:
        return len(self.result.body) + _ENTRY_BYTES


class Results:
    """Looks results up, and remembers the finished ones.

    Args:
        waiting: Where they are looked up.
        max_bytes: What all that is remembered may take; 0 remembers nothing.
    """

    def __init__(self, waiting: Waiting, *, max_bytes: int) -> None:
        self._waiting = waiting
        self._max_bytes = max_bytes
        self._kept: dict[Owned, _Entry] = {}
        self._size = 0
        self._erasures = 0

    async def result(self, owned: Owned, *, wait_s: float) -> Result | None:
        """What to answer, as `Waiting.state` finds it; not older than `MAX_AGE_S`. None if there is none.

        Raises:
            UnavailableError: It can't be looked up.
        """
        now = time.monotonic()  # finding the loop, for its clock, takes a system call
        kept = self._kept.get(owned)
        if kept is not None and now - kept.looked_up_at <= MAX_AGE_S:
            return kept.result
        erasures = self._erasures
        state = await self._waiting.state(owned, wait_s=wait_s)
        if state is None:
            return None
        result = _result(state)
        if state.is_final and erasures == self._erasures:
            self._keep(owned, _Entry(result, now))
        return result

    def forget(self, owned: Owned) -> None:
        """The ECG was erased: it is not answered again, nor is a look-up that was under way kept."""
        self._erasures += 1
        self._drop(owned)

    def _keep(self, owned: Owned, entry: _Entry) -> None:
        self._drop(owned)
        self._kept[owned] = entry
        self._size += entry.size
        too_long_ago = entry.looked_up_at - MAX_AGE_S
        while self._kept:
            oldest, its_entry = next(iter(self._kept.items()))
            if self._size <= self._max_bytes and its_entry.looked_up_at >= too_long_ago:
                return
            self._drop(oldest)

    def _drop(self, owned: Owned) -> None:
        entry = self._kept.pop(owned, None)
        if entry is not None:
            self._size -= entry.size


def _result(state: EcgState) -> Result:
    answer: dict[str, object] = {"id": state.id, "status": state.status}
    answer.update((name, value) for name, value in _said(state) if value is not None)
    if state.document is not None:
        answer |= orjson.loads(state.document)
    body = orjson.dumps(answer)
    headers = dict(_HEADERS)
    if state.status is not Status.QUEUED:
        headers["ETag"] = f'"{hashlib.sha256(body).hexdigest()[: 2 * _TAG_BYTES]}"'
    return Result(Head(headers=headers), body)


def _said(state: EcgState) -> tuple[tuple[str, object], ...]:
    return (
        ("reanalysis", state.reanalysis),
        ("error", state.error),
        ("date", state.date),
        ("sampling_rate_hz", state.sampling_rate_hz),
        ("unit", state.unit),
        ("submitted_at", state.submitted_at),
        ("completed_at", state.completed_at),
        ("generation", state.generation),
    )
