"""Writers of the event log that commit when a test wants it, and the cursor that such commits defeat."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tests.support.databases import open_connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable

    import asyncpg

_ADD: Final = """
INSERT INTO event_log (at, types, owners, ids, generations)
VALUES (now(), ARRAY['ecg.deleted'], ARRAY['ada'], ARRAY[$1], ARRAY[1])
"""
_AFTER: Final = """
SELECT xid::text AS number, ids[1] AS id FROM event_log WHERE xid > $1::text::xid8 ORDER BY event_log.xid
"""


async def write_events(
    database_url: str, ids: AsyncIterable[str], *, before_commit: Callable[[str], Awaitable[object]]
) -> None:
    """Log that an ECG of ada's was erased, for each of these ids, each in a transaction of its own."""
    async with open_connection(database_url) as connection:
        async for id_ in ids:
            async with connection.transaction():
                await connection.execute(_ADD, id_)
                await before_commit(id_)


class PlainCursor:
    """A reader that remembers the last number and asks for what is greater.

    Attributes:
        seen: Ids of ECGs in the order in which it saw them.
        reads: How often it has read.
    """

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self.seen: list[str] = []
        self.reads = 0
        self._connection = connection
        self._last = "0"

    async def read(self) -> None:
        """Read what is after the last number that it saw."""
        for row in await self._connection.fetch(_AFTER, self._last):
            self._last = row["number"]
            self.seen.append(row["id"])
        self.reads += 1

    async def read_on(self, *, poll_s: float) -> None:
        """Read forever."""
        while True:
            await self.read()
            await asyncio.sleep(poll_s)
