"""Long polling: requests that wait for a result (``?wait=``) share one periodic query."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from gateway.ecgs.lookup_batcher import open_lookup_batcher
from shared.domain.errors import UnavailableError
from shared.runtime.supervision import background_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.ecgs.lookup_batcher import LookupBatcher, OwnedEcgId
    from shared.ports.ecgs import EcgState, EcgStore

_MIN_BACKOFF_S: Final = 0.01
_MAX_BACKOFF_S: Final = 0.25


class ResultWaiter:
    """Waits until an ECG is final or erased, by polling PostgreSQL with a backoff."""

    def __init__(self, store: EcgStore, lookups: LookupBatcher) -> None:
        self._store = store
        self._lookups = lookups
        self._pending: dict[OwnedEcgId, set[asyncio.Future[EcgState | None]]] = {}
        self._has_pending = asyncio.Event()
        self._backoff_s = _MIN_BACKOFF_S
        self._waits_have_ended = False
        self._failure: UnavailableError | None = None

    def check(self) -> None:
        """Return unless requests wait and the last poll failed.

        Raises:
            UnavailableError: It failed, for this reason.
        """
        if self._pending and self._failure is not None:
            raise self._failure.copy()

    async def wait(self, owned: OwnedEcgId, *, wait_s: float) -> EcgState | None:
        """The ECG's state once it is final, after ``wait_s`` at the latest; None if there is no such ECG.

        A queued re-analysis is waited for too, although its last finished generation could be shown. After
        `end_waits` this returns without waiting.

        Raises:
            UnavailableError: It can't be looked up.
        """
        present = await self._lookups.load(owned)
        if present is None or present.is_final or not wait_s or self._waits_have_ended:
            return present
        try:
            async with asyncio.timeout(wait_s):
                return await self._wait_until_final(owned)
        except TimeoutError:
            return present

    def end_waits(self) -> None:
        """End all waits, present and future: `wait` returns the state that it read first."""
        self._waits_have_ended = True
        for future in [future for futures in self._pending.values() for future in futures]:
            if not future.done():
                future.set_exception(TimeoutError("waits have ended"))

    async def _wait_until_final(self, owned: OwnedEcgId) -> EcgState | None:
        future: asyncio.Future[EcgState | None] = asyncio.get_running_loop().create_future()
        self._pending.setdefault(owned, set()).add(future)
        self._backoff_s = _MIN_BACKOFF_S
        self._has_pending.set()
        try:
            return await future
        finally:
            self._remove(owned, future)

    def _remove(self, owned: OwnedEcgId, future: asyncio.Future[EcgState | None]) -> None:
        others = self._pending.get(owned, set())
        others.discard(future)
        if not others:
            self._pending.pop(owned, None)
        if not self._pending:
            self._has_pending.clear()

    async def run(self) -> None:
        """Poll forever, for all that wait."""
        while True:
            await self._has_pending.wait()
            await asyncio.sleep(self._backoff_s)
            self._backoff_s = min(2 * self._backoff_s, _MAX_BACKOFF_S)
            await self._poll()

    async def _poll(self) -> None:
        wanted = list(self._pending)
        try:
            states = await self._store.find(wanted)
        except UnavailableError as error:
            self._failure = error.copy()
            return
        self._failure = None
        for owned in wanted:
            state = states.get(owned)
            if state is None or state.is_final:
                self._resolve(owned, state)

    def _resolve(self, owned: OwnedEcgId, state: EcgState | None) -> None:
        for future in self._pending.get(owned, ()):
            if not future.done():
                future.set_result(state)


@asynccontextmanager
async def open_result_waiter(store: EcgStore) -> AsyncIterator[ResultWaiter]:
    """Yield a `ResultWaiter` that polls for as long as the context is open."""
    async with open_lookup_batcher(store) as lookups:
        waiter = ResultWaiter(store, lookups)
        async with background_task(waiter.run, "polling for results"):
            yield waiter
