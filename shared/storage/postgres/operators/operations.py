"""Operations by operators in PostgreSQL, recorded with who, when and why in the same transaction."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import orjson

from shared.events import EcgKey
from shared.ports.operators.operations import AuditNote, Selection
from shared.storage.postgres.ecgs import INSERT_ATTEMPTS_SQL, MAY_NOTE_ATTEMPTS
from shared.storage.postgres.operators.selections import allow_reading_whole_table, where_sql

if TYPE_CHECKING:
    from datetime import datetime

    from shared.domain.findings import JsonValue
    from shared.storage.pool.database import Database

_COUNT: Final = "SELECT count(*) FROM ecg WHERE {where}"

_CHOSEN_SQL: Final = """
WITH chosen AS MATERIALIZED (
    SELECT row, generation, attempts, claimed_by FROM ecg WHERE {where} AND finished_at < ${before}
    ORDER BY row LIMIT ${limit} FOR NO KEY UPDATE
)
"""
_NEXT_GENERATION_SQL: Final = """
UPDATE ecg SET generation = ecg.generation + 1, status = 'queued', attempts = 0, republished = 0,
    claimed_by = NULL, error = NULL, finished_at = NULL, due_at = now()
FROM chosen WHERE ecg.row = chosen.row AND status IN ('completed', 'failed')
RETURNING ecg.row, owner, id, ecg.generation
"""
_REPLAY: Final = f"{_CHOSEN_SQL} {_NEXT_GENERATION_SQL}"
# The row of an ECG tells of its last attempt until its next generation begins.
_REPLAY_AND_NOTE: Final = f"""
{_CHOSEN_SQL}, replayed AS ({_NEXT_GENERATION_SQL}), noted AS (
    {INSERT_ATTEMPTS_SQL}
    SELECT row, chosen.generation, attempts, claimed_by, NULL FROM chosen JOIN replayed USING (row)
    WHERE claimed_by IS NOT NULL
    ON CONFLICT DO NOTHING
)
SELECT row, owner, id, generation FROM replayed
"""  # nosec B608 # noqa: S608 - only constants are pasted in

RECORD_SQL: Final = "INSERT INTO operation (who, why, what, subject) VALUES ($1, $2, $3, $4::json)"


_RECORD_NOTHING: Final = """
INSERT INTO operation (who, why, what, subject) SELECT '', '', '', 'null'::json WHERE false
"""
_NO_ECG: Final = Selection(id="", owner="")


class PostgresOperations:
    """`shared.ports.operators.operations.Operations` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def now(self) -> datetime:
        async with self._database.connection() as connection:
            now: datetime = await connection.fetchval("SELECT now()")
        return now

    async def count(self, selection: Selection) -> int:
        where, arguments = where_sql(selection)
        async with self._database.connection() as connection, connection.transaction():
            await allow_reading_whole_table(connection, selection)
            count: int = await connection.fetchval(_COUNT.format(where=where), *arguments)
        return count

    async def replay(
        self, selection: Selection, note: AuditNote, *, finished_before: datetime, limit: int
    ) -> list[EcgKey]:
        where, arguments = where_sql(selection)
        chosen = {"where": where, "before": len(arguments) + 1, "limit": len(arguments) + 2}
        async with self._database.connection() as connection, connection.transaction():
            statement = _REPLAY_AND_NOTE if await connection.fetchval(MAY_NOTE_ATTEMPTS) else _REPLAY
            rows = await connection.fetch(statement.format(**chosen), *arguments, finished_before, limit)
            keys = [EcgKey(row["owner"], row["id"], row["generation"]) for row in rows]
            if keys:
                subject = {"selection": asdict(selection), "ecgs": [list(key) for key in keys]}
                await connection.execute(RECORD_SQL, *note, "replay", _json(subject))
        return keys

    async def record(self, what: str, subject: JsonValue, note: AuditNote) -> None:
        async with self._database.connection() as connection:
            await connection.execute(RECORD_SQL, *note, what, _json(subject))


async def dry_run_replay(database: Database) -> None:
    """Execute what replays ECGs and records that, without any.

    Raises:
        UnavailableError: It can't be executed.
    """
    operations = PostgresOperations(database)
    now = await operations.now()
    await operations.replay(_NO_ECG, AuditNote("", ""), finished_before=now, limit=0)
    async with database.connection() as connection:
        await connection.execute(_RECORD_NOTHING)


def _json(subject: object) -> str:
    return orjson.dumps(subject).decode()
