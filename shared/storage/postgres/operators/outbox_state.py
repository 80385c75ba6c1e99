"""The outbox in PostgreSQL, without the bodies of its events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.ports.operators.outbox_state import WaitingBatch

if TYPE_CHECKING:
    from shared.storage.pool.database import Database

_WAITING: Final = """
SELECT cardinality(event_ids), republished, created_at, due_at FROM outbox
WHERE due_at IS NOT NULL ORDER BY due_at LIMIT $1
"""


class PostgresOutboxReader:
    """`shared.ports.operators.outbox_state.OutboxReader` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def waiting(self, *, limit: int) -> list[WaitingBatch]:
        async with self._database.connection() as connection:
            return [WaitingBatch(*row) for row in await connection.fetch(_WAITING, limit)]
