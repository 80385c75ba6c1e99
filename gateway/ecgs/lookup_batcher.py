"""Batch the look-ups of concurrent requests into one query, as a DataLoader does."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeAlias

from shared.runtime.supervision import background_task

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from shared.ports.ecgs import EcgState, EcgStore

# Enough for every connection of a busy gateway, and a query of a few milliseconds.
_MAX_BATCH: Final = 500

OwnedEcgId: TypeAlias = tuple[str, str]
"""An ECG's owner and id."""

_StateFuture: TypeAlias = "asyncio.Future[EcgState | None]"


class LookupBatcher:
    """Looks ECGs up, two queries at a time; look-ups made meanwhile share the next query."""

    def __init__(self, store: EcgStore) -> None:
        self._store = store
        self._pending: dict[OwnedEcgId, list[_StateFuture]] = {}
        self._has_pending = asyncio.Event()

    async def load(self, owned: OwnedEcgId) -> EcgState | None:
        """The ECG's state, read after this was called; None if there is no such ECG.

        Raises:
            UnavailableError: It can't be looked up.
        """
        future: _StateFuture = asyncio.get_running_loop().create_future()
        self._pending.setdefault(owned, []).append(future)
        self._has_pending.set()
        return await future

    async def run(self) -> None:
        """Run queries forever."""
        while True:
            await self._has_pending.wait()
            await self._run_query()

    async def _run_query(self) -> None:
        batch = {owned: self._pending.pop(owned) for owned in list(islice(self._pending, _MAX_BATCH))}
        if not self._pending:
            self._has_pending.clear()
        if not batch:
            return
        try:
            states = await self._store.find(list(batch))
        except Exception as error:  # noqa: BLE001 - raised in each look-up of the query
            for future in _not_done(batch.values()):
                future.set_exception(error)
            return
        for owned, futures in batch.items():
            for future in _not_done([futures]):
                future.set_result(states.get(owned))


def _not_done(batch: Iterable[Iterable[_StateFuture]]) -> Iterator[_StateFuture]:
    """The futures that were not cancelled meanwhile."""
    return (future for futures in batch for future in futures if not future.done())


@asynccontextmanager
async def open_lookup_batcher(store: EcgStore) -> AsyncIterator[LookupBatcher]:
    """Yield a batcher that works for as long as the context is open."""
    lookups = LookupBatcher(store)
    async with (
        background_task(lookups.run, "looking up ECGs"),
        background_task(lookups.run, "looking up ECGs"),  # a second, while the first waits for PostgreSQL
    ):
        yield lookups
