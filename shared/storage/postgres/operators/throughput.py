"""What processors settle, in the table `throughput`: a row for each process and minute, for a day."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.ports.operators.throughput import MinuteCount, RecentThroughput, SettledCounts
from shared.storage.pool.database import ASYNC_COMMIT_SQL

if TYPE_CHECKING:
    from uuid import UUID

    from shared.storage.pool.database import Database

# Schemas from before 0016 have no such table; a role that was granted its privileges before has none on it.
_MAY_WRITE: Final = """
SELECT coalesce(bool_and(has_table_privilege(to_regclass('throughput'), privilege)), false)
FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
"""
_EXISTS: Final = "SELECT to_regclass('throughput') IS NOT NULL"

_ADD: Final = f"""
INSERT INTO throughput (minute, process, completed, failed, latencies)
SELECT date_trunc('minute', now()), $1::uuid, $2::integer, $3::integer, $4::integer[] FROM {ASYNC_COMMIT_SQL}
ON CONFLICT (minute, process) DO UPDATE SET
    completed = throughput.completed + excluded.completed,
    failed = throughput.failed + excluded.failed,
    latencies = ARRAY(
        SELECT coalesce(kept, 0) + coalesce(added, 0)
        FROM unnest(throughput.latencies, excluded.latencies) WITH ORDINALITY AS merged (kept, added, bucket)
        ORDER BY bucket
    )
"""  # nosec B608 # noqa: S608 - only a constant is pasted in
_FORGET: Final = "DELETE FROM throughput WHERE minute < now() - interval '1 day'"

_WINDOW: Final = """
SELECT now() AS at, date_trunc('minute', now()) - interval '1 minute' AS two,
    date_trunc('minute', now()) - interval '59 minutes' AS hour
"""
_MINUTES: Final = """
SELECT minute, sum(completed)::integer AS completed, sum(failed)::integer AS failed
FROM throughput WHERE minute >= $1 GROUP BY minute ORDER BY minute
"""
_LATENCIES: Final = """
SELECT minute >= $2 AS is_now, bucket::integer - 1 AS bucket, sum(ecgs)::integer AS ecgs
FROM throughput CROSS JOIN LATERAL unnest(latencies) WITH ORDINALITY AS counted (ecgs, bucket)
WHERE minute >= $1 AND ecgs > 0 GROUP BY 1, 2
"""


class PostgresThroughput:
    """`shared.ports.operators.throughput.Throughput` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, process_id: UUID, counts: SettledCounts) -> bool:
        async with self._database.connection() as connection:
            if not await connection.fetchval(_MAY_WRITE):
                return False
            await connection.execute(_ADD, process_id, counts.completed, counts.failed, counts.latencies)
            await connection.execute(_FORGET)
        return True

    async def recent(self) -> RecentThroughput:
        async with self._database.connection() as connection, connection.transaction():
            [window] = await connection.fetch(_WINDOW)
            exists = await connection.fetchval(_EXISTS)
            minutes = await connection.fetch(_MINUTES, window["hour"]) if exists else []
            latencies = await connection.fetch(_LATENCIES, window["hour"], window["two"]) if exists else []
        now, hour = SettledCounts(), SettledCounts()
        for minute, completed, failed in minutes:
            for counts in (hour, now) if minute >= window["two"] else (hour,):
                counts.add(completed=completed, failed=failed, latencies_s=())
        for is_now, bucket, ecgs in latencies:
            for counts in (hour, now) if is_now else (hour,):
                if bucket < len(counts.latencies):
                    counts.latencies[bucket] += ecgs
        return RecentThroughput(
            now,
            (window["at"] - window["two"]).total_seconds(),
            hour,
            (window["at"] - window["hour"]).total_seconds(),
            [MinuteCount(*row) for row in minutes],
        )
