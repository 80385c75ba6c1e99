"""The intake of the processors in PostgreSQL: one row, once it was paused for the first time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.ports.operators.intake import IntakeState
from shared.storage.postgres.operators.operations import RECORD_SQL

if TYPE_CHECKING:
    from shared.ports.operators.operations import AuditNote
    from shared.storage.pool.database import Database

# Schemas from before 0016 have no such table; a role that was granted its privileges before has none on it.
_MAY_READ: Final = "SELECT coalesce(has_table_privilege(to_regclass('intake'), 'SELECT'), false)"
_READ: Final = "SELECT is_paused, who, why, since FROM intake"

_CHANGE: Final = """
INSERT INTO intake (is_paused, who, why) VALUES ($1, $2, $3)
ON CONFLICT (is_only) DO UPDATE SET is_paused = excluded.is_paused, who = excluded.who, why = excluded.why,
    since = CASE WHEN intake.is_paused = excluded.is_paused THEN intake.since ELSE excluded.since END
RETURNING is_paused, who, why, since
"""


class PostgresIntake:
    """`shared.ports.operators.intake.Intake` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> IntakeState:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_READ) if await connection.fetchval(_MAY_READ) else None
        return IntakeState() if row is None else IntakeState(*row)

    async def change(self, note: AuditNote, *, is_paused: bool) -> IntakeState:
        async with self._database.connection() as connection, connection.transaction():
            [row] = await connection.fetch(_CHANGE, is_paused, *note)
            await connection.execute(RECORD_SQL, *note, "pause" if is_paused else "resume", '"intake"')
        return IntakeState(*row)
