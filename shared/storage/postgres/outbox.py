"""The outbox in PostgreSQL: rows whose due time has passed are taken without waiting for locks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.events import EcgKey, Event, EventBatch, EventType
from shared.ports.outbox import DueEcg
from shared.storage.pool.database import ASYNC_COMMIT_SQL
from shared.storage.postgres.ecgs import FOUND_QUEUED_SQL, STILL_QUEUED_SQL, key_arrays

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    import asyncpg

    from shared.ports.outbox import Backoff
    from shared.storage.pool.database import Database

_PUT_BACK_S: Final = 1.0
# A subscriber that comes back to a fresh broker gets this long to declare its queue again.
_UNROUTED_GRACE_S: Final = 60.0

# The first and the longest are those of a `shared.ports.outbox.Backoff`.
_DUE_AFTER_BACKOFF_SQL: Final = """
now() + least($2::float8 * 2 ^ least(republished, 16), $3::float8) * interval '1 second'
"""

_MAKE_DUE: Final = """
WITH ecgs AS (UPDATE ecg SET due_at = now() WHERE status = 'queued')
UPDATE outbox SET due_at = now()
"""

# Materialized: a plan that ran the inner query once per row would take more than the limit. No status is
# named (see the top of `shared.storage.postgres.ecgs`): only what is queued has a due time, and only one
# index has it.
_TAKE_ECGS: Final = f"""
WITH due AS MATERIALIZED (
    SELECT row FROM ecg WHERE due_at <= now()
    ORDER BY due_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
), too_far_ahead AS MATERIALIZED (
    SELECT row FROM ecg WHERE due_at > now() + $4::float8 * interval '1 second'
    ORDER BY due_at LIMIT $1 - (SELECT count(*) FROM due) FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE ecg SET due_at = {_DUE_AFTER_BACKOFF_SQL}, republished = republished + 1
WHERE row = ANY (ARRAY(SELECT row FROM due UNION ALL SELECT row FROM too_far_ahead)) AND finished_at IS NULL
RETURNING owner, id, generation, traceparent
"""  # nosec B608 # noqa: S608 - only the constant above is pasted in

_PUT_BACK_ECGS: Final = f"""
{FOUND_QUEUED_SQL}
UPDATE ecg SET due_at = now() + $4::float8 * interval '1 second', republished = greatest(republished - 1, 0)
WHERE {STILL_QUEUED_SQL}
"""  # nosec B608 # noqa: S608 - only constants are pasted in

_TAKE_EVENTS: Final = f"""
WITH due AS MATERIALIZED (
    SELECT bundle_id, cardinality(event_ids) AS events FROM outbox WHERE due_at <= now()
    ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED
), too_far_ahead AS MATERIALIZED (
    SELECT bundle_id, cardinality(event_ids) AS events FROM outbox
    WHERE due_at > now() + $4::float8 * interval '1 second'
    ORDER BY due_at LIMIT $1 - (SELECT count(*) FROM due) FOR UPDATE SKIP LOCKED
), page AS (
    SELECT bundle_id, sum(events) OVER (ROWS UNBOUNDED PRECEDING) - events AS events_before
    FROM (SELECT * FROM due UNION ALL SELECT * FROM too_far_ahead) AS taken
)
UPDATE outbox SET due_at = {_DUE_AFTER_BACKOFF_SQL}, republished = republished + 1
WHERE bundle_id = ANY (ARRAY(SELECT bundle_id FROM page WHERE events_before < $1))
RETURNING bundle_id, event_ids, types, bodies
"""  # nosec B608 # noqa: S608 - only the constant above is pasted in

# A crash may bring a deleted event back: it is published once more, and subscribers deduplicate by its id.
_CLEAR: Final = f"""
DELETE FROM outbox USING {ASYNC_COMMIT_SQL} WHERE bundle_id = ANY($1::uuid[])
"""  # nosec B608 # noqa: S608 - only a constant is pasted in

# Another process may have published others of them meanwhile. Then the smaller rest is kept: each event that
# it lacks was published by one of the two.
_KEEP_UNCONFIRMED: Final = f"""
UPDATE outbox SET event_ids = $2, types = $3, bodies = $4 FROM {ASYNC_COMMIT_SQL}
WHERE bundle_id = $1 AND cardinality(event_ids) > cardinality($2::uuid[])
"""  # nosec B608 # noqa: S608 - only a constant is pasted in

_DROP_UNROUTED: Final = """
DELETE FROM outbox
WHERE bundle_id = ANY($1::uuid[]) AND created_at < now() - $2::float8 * interval '1 second'
RETURNING bundle_id
"""


class PostgresOutbox:
    """`shared.ports.outbox.Outbox` on PostgreSQL; many relays may sweep at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def make_all_due(self) -> None:
        """Make all queued ECGs and unpublished events due at once: for a broker that starts empty."""
        async with self._database.connection() as connection:
            await connection.execute(_MAKE_DUE)

    async def take_due_ecgs(self, limit: int, backoff: Backoff) -> list[DueEcg]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_TAKE_ECGS, limit, *_due_times_s(backoff))
        return [DueEcg(EcgKey(*row[:3]), row["traceparent"]) for row in rows]

    async def put_back_ecgs(self, keys: Collection[EcgKey]) -> None:
        async with self._database.connection() as connection:
            await connection.execute(_PUT_BACK_ECGS, *key_arrays(keys), _PUT_BACK_S)

    async def take_due_events(self, limit: int, backoff: Backoff) -> list[EventBatch]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_TAKE_EVENTS, limit, *_due_times_s(backoff))
        return [_event_batch(row) for row in rows]

    async def clear(self, batch_ids: Collection[UUID]) -> None:
        async with self._database.connection() as connection:
            await connection.execute(_CLEAR, list(batch_ids))

    async def keep_unconfirmed(self, batch: EventBatch) -> None:
        ids, types, bodies = zip(*batch.events, strict=True)
        async with self._database.connection() as connection:
            await connection.execute(_KEEP_UNCONFIRMED, batch.id, ids, types, bodies)

    async def drop_unrouted(self, batch_ids: Collection[UUID]) -> set[UUID]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_DROP_UNROUTED, list(batch_ids), _UNROUTED_GRACE_S)
        return {row["bundle_id"] for row in rows}


def _due_times_s(backoff: Backoff) -> tuple[float, float, float]:
    # No due time is set further ahead than the last; a row that has one, because a clock went back, is due.
    return backoff.first_s, backoff.longest_s, 2 * backoff.longest_s


def _event_batch(row: asyncpg.Record) -> EventBatch:
    events = zip(row["event_ids"], row["types"], row["bodies"], strict=True)
    return EventBatch(row["bundle_id"], [Event(id_, EventType(type_), body) for id_, type_, body in events])
