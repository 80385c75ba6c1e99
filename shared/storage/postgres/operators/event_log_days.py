"""The days of the event log in PostgreSQL, by functions that run with the rights of the tables' owner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.storage.postgres.operators.retention import fetch_if_there

if TYPE_CHECKING:
    from shared.storage.pool.database import Database

# Schemas from before 0023 lack these; nor may a role call them that was granted its rights before.
_EXTEND: Final = "extend_event_log()"
_FORGET: Final = "drop_event_log(integer)"


class PostgresEventLogDays:
    """`shared.ports.event_log.EventLogDays` on PostgreSQL; nothing where the schema has no log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def extend(self) -> int:
        async with self._database.connection() as connection:
            added: int | None = await fetch_if_there(connection, _EXTEND)
        return added or 0

    async def forget(self, days: int) -> bool:
        async with self._database.connection() as connection:
            return bool(await fetch_if_there(connection, _FORGET, days))
