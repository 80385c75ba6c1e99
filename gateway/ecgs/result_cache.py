"""The result cache: finished results as prebuilt responses, for 5 s and within a number of bytes.

A result never changes within its generation, so it may be cached, unless the next generation is queued
already. An erasure or a replay through another gateway does not invalidate it here, so not for long.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from gateway.http.responses import JSON, Head
from shared.observability.metrics import counters
from shared.ports.ecgs import Status

if TYPE_CHECKING:
    from gateway.ecgs.lookup_batcher import OwnedEcgId
    from gateway.ecgs.result_waiter import ResultWaiter
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


_LOOKUPS: Final = counters(
    "isoline_result_cache_lookups_total", "ECGs that were asked for.", outcome=("hit", "miss")
)


class RenderedResult(NamedTuple):
    """The response for an ECG's state.

    Attributes:
        head: With an entity tag unless it is queued.
        body: JSON.
    """

    head: Head
    body: bytes


class _Entry(NamedTuple):
    result: RenderedResult
    looked_up_at: float

    @property
    def size(self) -> int:
        return len(self.result.body) + _ENTRY_BYTES


class ResultCache:
    """Looks results up, and caches the finished ones.

    Args:
        waiter: Looks up what is not cached.
        max_bytes: Of all entries together; 0 caches nothing.
    """

    def __init__(self, waiter: ResultWaiter, *, max_bytes: int) -> None:
        self._waiter = waiter
        self._max_bytes = max_bytes
        self._entries: dict[OwnedEcgId, _Entry] = {}
        self._size = 0
        self._invalidations = 0

    async def get(self, owned: OwnedEcgId, *, wait_s: float) -> RenderedResult | None:
        """The response for an ECG, as `ResultWaiter.wait` finds it, or not older than `MAX_AGE_S`.

        None if there is no such ECG.

        Raises:
            UnavailableError: It can't be looked up.
        """
        now = time.monotonic()  # the loop's clock would cost a system call, to find the loop
        cached = self._entries.get(owned)
        if cached is not None and now - cached.looked_up_at <= MAX_AGE_S:
            _LOOKUPS["hit"].inc()
            return cached.result
        _LOOKUPS["miss"].inc()
        invalidations = self._invalidations
        state = await self._waiter.wait(owned, wait_s=wait_s)
        if state is None:
            return None
        result = _result(state)
        if state.is_final and invalidations == self._invalidations:
            self._put(owned, _Entry(result, now))
        return result

    def invalidate(self, owned: OwnedEcgId) -> None:
        """Drop an ECG that was erased; results of look-ups under way are not cached either."""
        self._invalidations += 1
        self._drop(owned)

    async def wait_for_predecessor_to_expire(self, owned: OwnedEcgId, *, age_s: float) -> None:
        """Return when no gateway has the result of an ECG that was erased before this one with its id came.

        Args:
            owned: The new ECG.
            age_s: For how long it has been stored; may count from before it was visible to look-ups.
        """
        if self._max_bytes and age_s < 2 * MAX_AGE_S:
            self.invalidate(owned)
            await asyncio.sleep(MAX_AGE_S)

    def _put(self, owned: OwnedEcgId, entry: _Entry) -> None:
        self._drop(owned)
        self._entries[owned] = entry
        self._size += entry.size
        too_long_ago = entry.looked_up_at - MAX_AGE_S
        while self._entries:
            oldest, its_entry = next(iter(self._entries.items()))
            if self._size <= self._max_bytes and its_entry.looked_up_at >= too_long_ago:
                return
            self._drop(oldest)

    def _drop(self, owned: OwnedEcgId) -> None:
        entry = self._entries.pop(owned, None)
        if entry is not None:
            self._size -= entry.size


def _result(state: EcgState) -> RenderedResult:
    content: dict[str, object] = {"id": state.id, "status": state.status}
    content.update((name, value) for name, value in _header_fields(state) if value is not None)
    if state.document is not None:
        content |= orjson.loads(state.document)
    body = orjson.dumps(content)
    headers = dict(_HEADERS)
    if state.status is not Status.QUEUED:
        headers["ETag"] = f'"{hashlib.sha256(body).hexdigest()[: 2 * _TAG_BYTES]}"'
    return RenderedResult(Head(headers=headers), body)


def _header_fields(state: EcgState) -> tuple[tuple[str, object], ...]:
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
