"""The processes that work on an installation now, in the table `process`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.ports.operators.processes import Presence, RunningProcess
from shared.storage.pool.database import ASYNC_COMMIT_SQL

if TYPE_CHECKING:
    from uuid import UUID

    from shared.storage.pool.database import Database

# Schemas from before 0013 have no such table; a role that was granted its privileges before has none on it.
_MAY_WRITE: Final = """
SELECT coalesce(bool_and(has_table_privilege(to_regclass('process'), privilege)), false)
FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
"""
_EXISTS: Final = "SELECT to_regclass('process') IS NOT NULL"

_ANNOUNCE: Final = f"""
INSERT INTO process (id, service, worker, host, release, is_draining, held_ecgs)
SELECT $1::uuid, $2, $3::integer, $4, $5, $6::boolean, $7::integer FROM {ASYNC_COMMIT_SQL}
ON CONFLICT (id) DO UPDATE SET
    seen_at = now(), is_draining = excluded.is_draining, held_ecgs = excluded.held_ecgs
"""  # nosec B608 # noqa: S608 - only a constant is pasted in

_FORGET: Final = "DELETE FROM process WHERE seen_at < now() - interval '1 hour'"
_LEAVE: Final = "DELETE FROM process WHERE id = $1"
_RUNNING: Final = """
SELECT id, service, worker, host, release, is_draining, held_ecgs, started_at,
    extract(epoch FROM now() - seen_at)::float8 AS seen_s
FROM process WHERE seen_at >= now() - interval '1 hour' ORDER BY service, host, worker, started_at
"""


class PostgresProcesses:
    """`shared.ports.operators.processes.Processes` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def announce(self, presence: Presence) -> bool:
        async with self._database.connection() as connection:
            if not await connection.fetchval(_MAY_WRITE):
                return False
            await connection.execute(_ANNOUNCE, *presence)
            await connection.execute(_FORGET)
        return True

    async def leave(self, process_id: UUID) -> None:
        async with self._database.connection() as connection:
            if await connection.fetchval(_MAY_WRITE):
                await connection.execute(_LEAVE, process_id)

    async def running(self) -> list[RunningProcess]:
        async with self._database.connection() as connection:
            if not await connection.fetchval(_EXISTS):
                return []
            rows = await connection.fetch(_RUNNING)
        return [RunningProcess(Presence(*row[:7]), row["started_at"], row["seen_s"]) for row in rows]
