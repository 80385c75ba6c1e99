"""An owner's ECGs in PostgreSQL: listed by keyset, erased to a tombstone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from shared.events import EcgKey, EventBatch, EventType, time_of, traceparent_of
from shared.ports.ecgs import Status
from shared.ports.outbox import FIRST_DUE_AFTER_S
from shared.ports.owned_ecgs import EcgSummary, PagePosition
from shared.storage.postgres.ecgs import NULL_PAST_COLUMNS_SQL
from shared.storage.postgres.event_log_writing import WritableEventLog

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncpg

    from shared.events import Event
    from shared.storage.pool.database import Connection, Database

_NO_ROW: Final = 0  # they are counted from 1
_BEFORE_THE_NEWEST: Final = PagePosition(datetime(9999, 12, 31, tzinfo=UTC), "")

# The status is a literal, not a parameter: only so can a generic plan use the partial indexes.
_PAGE: Final = """
SELECT page.id, page.status, page.submitted_at, past.generation AS past_generation, past.past_error
FROM (
    SELECT row, id, generation, status, submitted_at FROM ecg
    WHERE owner = $1 AND status {which} AND (submitted_at, id) < ($2, $3)
    ORDER BY submitted_at DESC, id DESC LIMIT $4
) AS page
CROSS JOIN {absent}
LEFT JOIN LATERAL (
    SELECT generation, past_error FROM ecg_insights
    WHERE row = page.row AND generation < page.generation AND page.generation > 1 AND page.status = 'queued'
    ORDER BY generation DESC LIMIT 1
) AS past ON true
ORDER BY page.submitted_at DESC, page.id DESC
"""

# Never by the unique key with a sort, which reads all ECGs of an owner and seems as cheap while the planner
# believes that there are few.
_IN_ORDER: Final = "SET LOCAL enable_sort = off"

_PAGE_OF: Final[dict[Status | None, str]] = {
    None: _PAGE.format(which="<> 'erased'", absent=NULL_PAST_COLUMNS_SQL),
    **{status: _PAGE.format(which=f"= '{status}'", absent=NULL_PAST_COLUMNS_SQL) for status in Status},
}

# Only an erased ECG has an empty hash. A condition on the status would fit the index of an owner's pages, by
# which an id is found by reading all ECGs of the owner.
_LOCK: Final = """
SELECT row, generation, coalesce(has_table_privilege(to_regclass('attempt'), 'DELETE'), false) AS has_attempts
FROM ecg WHERE owner = $1 AND id = $2 AND content_hash <> '' FOR NO KEY UPDATE
"""

_ERASE_SQL: Final = """
WITH erased AS (
    UPDATE ecg SET
        status = 'erased', due_at = NULL, error = NULL, content_hash = '', num_samples = 0,
        traceparent = NULL, finished_at = now()
    WHERE row = $1
    RETURNING row, owner, id, generation
), signals AS (
    DELETE FROM ecg_signal WHERE row = $1
), insights AS (
    DELETE FROM ecg_insights WHERE row = $1
){logged}
INSERT INTO outbox (bundle_id, event_ids, types, bodies, due_at)
SELECT $2::uuid, ARRAY[$3::uuid], ARRAY[$4::text], ARRAY[$5::bytea], now() + $6::float8 * interval '1 second'
FROM erased
"""
_LOGGED_SQL: Final = f""", logged AS (
    INSERT INTO event_log (at, types, owners, ids, generations, traceparents)
    SELECT $7::timestamptz, ARRAY['{EventType.DELETED}'], ARRAY[owner], ARRAY[id], ARRAY[generation],
        ARRAY[$8::text]
    FROM erased
)
"""  # nosec B608 # noqa: S608 - only a constant is pasted in
_ERASE: Final = _ERASE_SQL.format(logged="")
_ERASE_AND_LOG: Final = _ERASE_SQL.format(logged=_LOGGED_SQL)
# Schemas from before 0015 have no such table; a role that was granted its privileges before has none on it.
_ERASE_ATTEMPTS: Final = "DELETE FROM attempt WHERE row = $1"


class PostgresOwnedEcgs:
    """`shared.ports.owned_ecgs.OwnedEcgs` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._event_log = WritableEventLog()

    async def page(
        self, owner: str, *, limit: int, after: PagePosition | None = None, status: Status | None = None
    ) -> list[EcgSummary]:
        position = after or _BEFORE_THE_NEWEST
        async with self._database.connection() as connection, connection.transaction(readonly=True):
            await connection.execute(_IN_ORDER)
            rows = await connection.fetch(_PAGE_OF[status], owner, *position, limit)
        return [_summary(row) for row in rows]

    async def erase(
        self, owner: str, ecg_id: str, *, event_of: Callable[[EcgKey], Event]
    ) -> EventBatch | None:
        async with self._database.connection() as connection, connection.transaction():
            row = await connection.fetchrow(_LOCK, owner, ecg_id)
            if row is None:
                return None
            event = event_of(EcgKey(owner, ecg_id, row["generation"]))
            batch = EventBatch(uuid4(), [event])
            async with self._event_log.check(connection) as is_logged:
                arguments = row["row"], batch.id, *event, FIRST_DUE_AFTER_S
                if is_logged:
                    named = time_of(event), traceparent_of(event)
                    await connection.execute(_ERASE_AND_LOG, *arguments, *named)
                else:
                    await connection.execute(_ERASE, *arguments)
            if row["has_attempts"]:
                await connection.execute(_ERASE_ATTEMPTS, row["row"])
        return batch


def _summary(row: asyncpg.Record) -> EcgSummary:
    summary = EcgSummary(row["id"], Status(row["status"]), row["submitted_at"])
    if row["past_generation"] is None:
        return summary
    past = Status.COMPLETED if row["past_error"] is None else Status.FAILED
    return summary._replace(status=past, reanalysis=summary.status)


async def dry_run_erase(connection: Connection) -> None:
    """Run the statement that erases an ECG on no row: PostgreSQL refuses it as it would a real one."""
    await connection.execute(_ERASE, _NO_ROW, uuid4(), uuid4(), "", b"", FIRST_DUE_AFTER_S)
