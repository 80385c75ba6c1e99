"""Finished ECGs of all owners, in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.ports.ecgs import attempts_of_claims
from shared.ports.operators.finished_ecgs import (
    FailureGroup,
    Failures,
    FinishedEcg,
    FinishedPage,
    FinishedPosition,
)
from shared.storage.postgres.operators.selections import allow_reading_whole_table, where_sql

if TYPE_CHECKING:
    import asyncpg

    from shared.ports.operators.operations import Selection
    from shared.storage.pool.database import Database

_NOW: Final = "SELECT now()"

# Failed ones come from the index `ecg_failed` in this order. Others are read and sorted: an index that each
# commit would pay for is not worth an operator's list.
_PAGE: Final = """
SELECT owner, id, status, generation, attempts, coalesce(error, '') AS reason, submitted_at, finished_at, row
FROM ecg WHERE {where} ORDER BY finished_at DESC, row DESC LIMIT {limit}
"""
_AFTER: Final = " AND (finished_at, row) < (${}, ${})"

_FAILURES: Final = """
SELECT error, count(*), count(DISTINCT owner), min(finished_at), max(finished_at)
FROM ecg WHERE {where} GROUP BY error ORDER BY 2 DESC, 1 LIMIT {limit}
"""


class PostgresFinishedEcgs:
    """`shared.ports.operators.finished_ecgs.FinishedEcgs` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, selection: Selection, *, limit: int, after: FinishedPosition | None = None
    ) -> FinishedPage:
        where, arguments = where_sql(selection)
        if after is not None:
            where += _AFTER.format(len(arguments) + 1, len(arguments) + 2)
            arguments += after
        statement = _PAGE.format(where=where, limit=limit + 1)
        async with self._database.connection() as connection, connection.transaction():
            await allow_reading_whole_table(connection, selection)
            as_of = await connection.fetchval(_NOW)
            rows = await connection.fetch(statement, *arguments)
        shown = rows[:limit]
        has_more = len(rows) > limit
        position = FinishedPosition(shown[-1]["finished_at"], shown[-1]["row"]) if has_more else None
        return FinishedPage([_finished(row) for row in shown], position, as_of)

    async def failures(self, selection: Selection, *, limit: int) -> Failures:
        where, arguments = where_sql(selection, is_failed=True)
        statement = _FAILURES.format(where=where, limit=limit)
        async with self._database.connection() as connection, connection.transaction():
            as_of = await connection.fetchval(_NOW)
            rows = await connection.fetch(statement, *arguments)
        return Failures([FailureGroup(*row) for row in rows], as_of)


def _finished(row: asyncpg.Record) -> FinishedEcg:
    ecg = FinishedEcg(*tuple(row)[:-1])
    return ecg._replace(attempts=attempts_of_claims(ecg.attempts, ecg.reason))
