"""The processes that work on an installation, and those that ended within a week, in the table `process`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.ports.operators.processes import Presence, RunningProcess
from shared.storage.pool.database import ASYNC_COMMIT_SQL

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    import asyncpg

    from shared.storage.pool.database import Connection, Database

# Schemas from before 0013 have no such table; a role that was granted its privileges before has none on it.
_MAY_WRITE: Final = """
SELECT coalesce(bool_and(has_table_privilege(to_regclass('process'), privilege)), false)
FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
"""
_MAY_READ: Final = "SELECT coalesce(has_table_privilege(to_regclass('process'), 'SELECT'), false)"
_EXISTS: Final = "SELECT to_regclass('process') IS NOT NULL"
# Schemas from before 0015 lack the column `ended_at`, from before 0016 `is_paused`, from before 0022 `pid`.
_HAS_COLUMN: Final = """
SELECT count(*) > 0 FROM pg_attribute WHERE attrelid = to_regclass('process') AND attname = $1
"""
_ABSENT_SQL: Final = """
(SELECT NULL::timestamptz AS ended_at, false AS is_paused, NULL::integer AS pid) AS absent
"""

_ANNOUNCE: Final = f"""
INSERT INTO process (id, service, worker, host, release, is_draining, held_ecgs)
SELECT $1::uuid, $2, $3::integer, $4, $5, $6::boolean, $7::integer FROM {ASYNC_COMMIT_SQL}
ON CONFLICT (id) DO UPDATE SET
    seen_at = now(), is_draining = excluded.is_draining, held_ecgs = excluded.held_ecgs
RETURNING seen_at = started_at AS is_new
"""  # nosec B608 # noqa: S608 - only a constant is pasted in

# The timelines of ECGs name who tried them. Only a process that starts adds a row.
_FORGET: Final = "DELETE FROM process WHERE seen_at < now() - interval '7 days'"
_LEAVE: Final = "DELETE FROM process WHERE id = $1"
_END: Final = """
UPDATE process SET seen_at = now(), ended_at = now(), held_ecgs = CASE WHEN held_ecgs IS NOT NULL THEN 0 END
WHERE id = $1
"""

_SET_PAUSED: Final = "UPDATE process SET is_paused = $2 WHERE id = $1 AND is_paused <> $2"
_SET_PID: Final = "UPDATE process SET pid = $2 WHERE id = $1"
_PROCESSES_SQL: Final = f"""
SELECT process.* FROM {_ABSENT_SQL} CROSS JOIN LATERAL (
    SELECT id, service, worker, host, release, is_draining, held_ecgs, is_paused, pid,
        started_at, seen_at, extract(epoch FROM now() - seen_at)::float8 AS seen_s, ended_at
    FROM process WHERE {{which}}
) AS process ORDER BY service, host, worker, started_at
"""  # nosec B608 # noqa: S608 - only constants are pasted in
_SEEN_LATELY: Final = _PROCESSES_SQL.format(which="seen_at >= now() - interval '1 hour'")
_OF_IDS: Final = _PROCESSES_SQL.format(which="id = ANY($1::uuid[])")


class PostgresProcesses:
    """`shared.ports.operators.processes.Processes` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def announce(self, presence: Presence) -> bool:
        async with self._database.connection() as connection:
            if not await connection.fetchval(_MAY_WRITE):
                return False
            if await connection.fetchval(_ANNOUNCE, *presence[:7]):
                await connection.execute(_FORGET)
                if await connection.fetchval(_HAS_COLUMN, "pid"):
                    await connection.execute(_SET_PID, presence.id, presence.pid)
            if await connection.fetchval(_HAS_COLUMN, "is_paused"):
                await connection.execute(_SET_PAUSED, presence.id, presence.is_paused)
        return True

    async def leave(self, process_id: UUID) -> None:
        async with self._database.connection() as connection:
            if await connection.fetchval(_MAY_WRITE):
                keeps_ended = await connection.fetchval(_HAS_COLUMN, "ended_at")
                await connection.execute(_END if keeps_ended else _LEAVE, process_id)

    async def running(self) -> list[RunningProcess]:
        async with self._database.connection() as connection:
            if not await connection.fetchval(_EXISTS):
                return []
            rows = await connection.fetch(_SEEN_LATELY)
        return [_process(row) for row in rows]


async def find_processes(connection: Connection, ids: Collection[UUID]) -> dict[UUID, RunningProcess]:
    """Those of these processes that are known, by their ids."""
    if not await connection.fetchval(_MAY_READ):
        return {}
    return {row["id"]: _process(row) for row in await connection.fetch(_OF_IDS, ids)}


def _process(row: asyncpg.Record) -> RunningProcess:
    return RunningProcess(Presence(*row[:9]), *row[9:])
