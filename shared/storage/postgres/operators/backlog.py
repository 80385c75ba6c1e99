"""The backlog in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.ports.operators.backlog import BacklogState

if TYPE_CHECKING:
    from shared.storage.pool.database import Database

# Only queued ECGs have a due time, and the index on it holds no others. A replayed ECG was stored long ago
# and queued just now: its age says nothing.
_READ: Final = """
SELECT ecgs.count, coalesce(extract(epoch FROM now() - ecgs.oldest), 0)::float8,
    batches.count, coalesce(extract(epoch FROM now() - batches.oldest), 0)::float8
FROM (
    SELECT count(*), min(submitted_at) FILTER (WHERE generation = 1) AS oldest
    FROM ecg WHERE due_at IS NOT NULL
) AS ecgs, (
    SELECT count(*), min(created_at) AS oldest FROM outbox WHERE due_at IS NOT NULL
) AS batches
"""


class PostgresBacklogReader:
    """`shared.ports.operators.backlog.BacklogReader` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> BacklogState:
        async with self._database.connection() as connection:
            [row] = await connection.fetch(_READ)
        return BacklogState(*row)
