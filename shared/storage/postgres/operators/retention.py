"""Pruning in PostgreSQL, by functions that run with the rights of the tables' owner: see migration 0014."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import orjson

from shared.domain.errors import UnavailableError
from shared.ports.operators.retention import PrunedPage, PrunedShare

if TYPE_CHECKING:
    from datetime import datetime

    import asyncpg

    from shared.storage.pool.database import Connection, Database

# 160 ECGs of 12 leads x 10 s x 500 Hz, some 5 MB on disk; of the last ECG all is deleted.
_MOST_SAMPLES: Final = 10_000_000

# Schemas from before 0014 have no such function; a role that was granted its rights before may not call it.
_PRUNE_ECGS: Final = "prune_ecgs(timestamptz, bigint, integer, bigint, boolean)"
# Schemas from before 0020 have no partitions; nor may a role use these that was granted its rights before.
_MAY_CALL: Final = "SELECT coalesce(has_function_privilege(to_regprocedure($1), 'EXECUTE'), false)"
_DROP_SIGNALS: Final = "drop_signal_partition()"
_PRUNE_SIGNALS: Final = "prune_signals(timestamptz, integer)"
_EXTEND: Final = "extend_signal_partitions(bigint, integer)"

_PRUNE: Final = "SELECT last_row, pruned FROM prune_ecgs($1, $2, $3, $4, $5)"

# A time that is far ahead was set before the clock was set back.
_TAKE_SHARE: Final = """
SELECT after_row, pruned, now() - $1::interval AS finished_before FROM retention
WHERE next_at <= now() OR next_at > now() + 2 * $2::interval FOR NO KEY UPDATE SKIP LOCKED
"""
_END_SHARE: Final = """
UPDATE retention SET after_row = $1, pruned = $2, next_at = now() + $3::interval
"""

_RECORD: Final = "INSERT INTO operation (who, why, what, subject) VALUES ('retention', $1, $2, $3::json)"
_AT_ONCE: Final = timedelta()


class PostgresRetention:
    """`shared.ports.operators.retention.Retention` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def now(self) -> datetime:
        async with self._database.connection() as connection:
            now: datetime = await connection.fetchval("SELECT now()")
        return now

    async def prune(
        self, finished_before: datetime, *, after_row: int, limit: int, only_count: bool = False
    ) -> PrunedPage:
        async with self._database.connection() as connection:
            await _check_may_prune(connection)
            return await _prune(connection, finished_before, after_row, limit, only_count=only_count)

    async def prune_shared(
        self, older_than: timedelta, *, limit: int, next_round_in: timedelta
    ) -> PrunedShare | None:
        async with self._database.connection() as connection:
            await _check_may_prune(connection)
            async with connection.transaction():
                share = await connection.fetchrow(_TAKE_SHARE, older_than, next_round_in)
                if share is None:
                    return None
                page = await _prune(connection, share["finished_before"], share["after_row"], limit)
                await _record(connection, older_than, share, page)
                if page.last_row is not None:
                    await connection.execute(_END_SHARE, page.last_row, share["pruned"] + page.ecgs, _AT_ONCE)
                    return PrunedShare(page.ecgs, None)
                await connection.execute(_END_SHARE, 0, 0, next_round_in)
                return PrunedShare(page.ecgs, share["pruned"] + page.ecgs)

    async def drop_signals(self) -> bool:
        async with self._database.connection() as connection:
            return bool(await fetch_if_there(connection, _DROP_SIGNALS))

    async def prune_signals(self, finished_before: datetime, *, limit: int) -> int:
        async with self._database.connection() as connection:
            erased: int | None = await fetch_if_there(connection, _PRUNE_SIGNALS, finished_before, limit)
        return erased or 0

    async def extend_partitions(self, *, least_rows: int, parts: int) -> bool:
        async with self._database.connection() as connection:
            return bool(await fetch_if_there(connection, _EXTEND, least_rows, parts))

    async def prune_records(self) -> None:
        async with self._database.connection() as connection:
            await _check_may_prune(connection)
            await connection.execute("SELECT prune_records()")


async def fetch_if_there(connection: Connection, signature: str, *arguments: object) -> Any:
    """The value of a function that this schema may lack, or this role the right to call: then None."""
    if not await connection.fetchval(_MAY_CALL, signature):
        return None
    places = ", ".join(f"${number}" for number in range(1, len(arguments) + 1))
    return await connection.fetchval(f"SELECT {signature.partition('(')[0]}({places})", *arguments)


async def _check_may_prune(connection: Connection) -> None:
    if not await connection.fetchval(_MAY_CALL, _PRUNE_ECGS):
        raise UnavailableError(
            "the role may not erase old ECGs: run `isoline migrate`, then `isoline db grant`",
            needs_operator=True,
        )


async def _prune(
    connection: Connection, finished_before: datetime, after_row: int, limit: int, *, only_count: bool = False
) -> PrunedPage:
    [row] = await connection.fetch(_PRUNE, finished_before, after_row, limit, _MOST_SAMPLES, only_count)
    return PrunedPage(row["pruned"], row["last_row"])


async def _record(
    connection: Connection, older_than: timedelta, share: asyncpg.Record, page: PrunedPage
) -> None:
    """Record the round when it erases its first ECG, and when it has ended."""
    why, ecgs = f"older than {older_than.days} days", share["pruned"] + page.ecgs
    subject = {"finished_before": share["finished_before"].isoformat()}
    if page.ecgs and not share["pruned"]:
        await connection.execute(_RECORD, why, "prune", orjson.dumps(subject).decode())
    if ecgs and page.last_row is None:
        await connection.execute(_RECORD, why, "pruned", orjson.dumps({**subject, "ecgs": ecgs}).decode())
