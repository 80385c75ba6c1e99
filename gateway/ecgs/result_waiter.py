"""Requests that wait for a result: one query for all of them, however many they are."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from gateway.ecgs.lookup_batcher import open_lookups
from shared.domain.errors import UnavailableError
from shared.runtime.supervision import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.ecgs.lookup_batcher import Lookups, Owned
    from shared.ports.ecgs import EcgState, EcgStore

_SHORTEST_PAUSE_S: Final = 0.01
_LONGEST_PAUSE_S: Final = 0.25


class Waiting:
    """Answers when an ECG is not queued any more, or gone, by looking again and again, ever more slowly."""

    def __init__(self, store: EcgStore, lookups: Lookups) -> None:
        self._store = store
        self._lookups = lookups
        self._waiting: dict[Owned, set[asyncio.Future[EcgState | None]]] = {}
        self._somebody_waits = asyncio.Event()
        self._pause_s = _SHORTEST_PAUSE_S
        self._is_leaving = False
        self._failure: UnavailableError | None = None

    def check(self) -> None:
        """Return unless somebody waits, and the last look failed.

        Raises:
            UnavailableError: It did, for this reason.
        """
        if self._waiting and self._failure is not None:
            raise self._failure.again()

    async def state(self, owned: Owned, *, wait_s: float) -> EcgState | None:
        """The ECG's state as soon as it is final, after ``wait_s`` at the latest; None if there is none.

        So a re-analysis is waited for, although its last finished generation could be shown. Nobody waits
        for one that leaves.

        Raises:
            UnavailableError: It can't be looked up.
        """
        present = await self._lookups.state(owned)
        if present is None or present.is_final or not wait_s or self._is_leaving:
            return present
        try:
            async with asyncio.timeout(wait_s):
                return await self._final(owned)
        except TimeoutError:
            return present

    def leave(self) -> None:
        """From now on answer at once, and all who wait already, with what is known."""
        self._is_leaving = True
        for answer in [answer for answers in self._waiting.values() for answer in answers]:
            if not answer.done():
                answer.set_exception(TimeoutError("leaving"))

    async def _final(self, owned: Owned) -> EcgState | None:
        answer: asyncio.Future[EcgState | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owned, set()).add(answer)
        self._pause_s = _SHORTEST_PAUSE_S
        self._somebody_waits.set()
        try:
            return await answer
        finally:
            self._forget(owned, answer)

    def _forget(self, owned: Owned, answer: asyncio.Future[EcgState | None]) -> None:
        others = self._waiting.get(owned, set())
        others.discard(answer)
        if not others:
            self._waiting.pop(owned, None)
        if not self._waiting:
            self._somebody_waits.clear()

    async def watch(self) -> None:
        """Look for all who wait, forever."""
        while True:
            await self._somebody_waits.wait()
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
            await self._look()

    async def _look(self) -> None:
        wanted = list(self._waiting)
        try:
            states = await self._store.find(wanted)
        except UnavailableError as error:
            self._failure = error.again()
            return
        self._failure = None
        for owned in wanted:
            state = states.get(owned)
            if state is None or state.is_final:
                self._answer(owned, state)

    def _answer(self, owned: Owned, state: EcgState | None) -> None:
        for answer in self._waiting.get(owned, ()):
            if not answer.done():
                answer.set_result(state)


@asynccontextmanager
async def open_waiting(store: EcgStore) -> AsyncIterator[Waiting]:
    """Yield a `Waiting` that looks for as long as the context is open."""
    async with open_lookups(store) as lookups:
        waiting = Waiting(store, lookups)
        async with running(waiting.watch, "looking for results"):
            yield waiting
