"""Look-ups of ECGs that come in together: one query for all of them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

from shared.runtime.supervision import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from shared.ports.ecgs import EcgState, EcgStore

# Enough for every connection of a busy gateway, and a query of a few milliseconds.
_MOST_AT_A_TIME: Final = 500

Owned: TypeAlias = tuple[str, str]
"""An ECG by its owner and its id."""

_Answer: TypeAlias = "asyncio.Future[EcgState | None]"


class Lookups:
    """Looks ECGs up, two queries at a time: what comes in meanwhile goes out with the next."""

    def __init__(self, store: EcgStore) -> None:
        self._store = store
        self._wanted: dict[Owned, list[_Answer]] = {}
        self._somebody_asks = asyncio.Event()

    async def state(self, owned: Owned) -> EcgState | None:
        """How the ECG stands after this was called; None if there is none.

        Raises:
            UnavailableError: It can't be looked up.
        """
        answer: _Answer = asyncio.get_running_loop().create_future()
        self._wanted.setdefault(owned, []).append(answer)
        self._somebody_asks.set()
        return await answer

    async def work(self) -> None:
        """Answer forever."""
        while True:
            await self._somebody_asks.wait()
            await self._look()

    async def _look(self) -> None:
        taken = {owned: self._wanted.pop(owned) for owned in list(islice(self._wanted, _MOST_AT_A_TIME))}
        if not self._wanted:
            self._somebody_asks.clear()
        if not taken:
            return
        try:
            states = await self._store.find(list(taken))
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to those who ask
            for answer in _unanswered(taken.values()):
                answer.set_exception(error)
            return
        for owned, answers in taken.items():
            for answer in _unanswered([answers]):
                answer.set_result(states.get(owned))


def _unanswered(asked: Iterable[Iterable[_Answer]]) -> Iterator[_Answer]:
    """Those whose asker has not gone meanwhile."""
    return (answer for answers in asked for answer in answers if not answer.done())


@asynccontextmanager
async def open_lookups(store: EcgStore) -> AsyncIterator[Lookups]:
    """Yield `Lookups` that answer for as long as the context is open."""
    lookups = Lookups(store)
    async with (
        running(lookups.work, "looking ECGs up"),
        running(lookups.work, "looking ECGs up"),  # a second, while the first waits for PostgreSQL
    ):
        yield lookups
