"""What processors need to send for webhooks, in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import uuid4

from shared.events import EventType
from shared.ports.event_log import LogPosition
from shared.ports.webhook_dispatch import LEASE_S, LONGEST_WAIT_S, DueDelivery, LeasedWebhook
from shared.storage.postgres.webhooks.rights import MAY_READ_SQL, webhook_rights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    import asyncpg

    from shared.ports.webhook_dispatch import AttemptedDelivery, Progress
    from shared.storage.pool.database import Connection, Database

# So many events of a webhook wait to be sent again; then it stays where it is in the log.
_MOST_WAITING: Final = 100
_LEASE_LASTS: Final = f"interval '{LEASE_S} seconds'"
_KEPT_DELIVERED: Final = 10_000
_FORGOTTEN_AT_ONCE: Final = 5_000
# No time is set further ahead than these; one that is, because a clock went back, has come.
_FURTHEST: Final = f"interval '{LONGEST_WAIT_S + 60} seconds'"
_MOST_PLACE: Final = 2**31 - 1

_WAITING: Final = """(
    SELECT count(*) FROM webhook_delivery
    WHERE webhook = webhook.id AND due_at IS NOT NULL AND xid IS NOT NULL
)"""
# A clock that jumps ahead by a day ends no day of trying.
_LEAST_ATTEMPTS: Final = 10
_IS_DUE: Final = f"(due_at <= now() OR due_at > now() + {_FURTHEST})"
_MAY_RESUME: Final = f"(resume_at <= now() OR resume_at > now() + {_FURTHEST})"
_IS_FREE: Final = f"(leased_until <= now() OR leased_until > now() + 2 * {_LEASE_LASTS})"

_COLUMNS: Final = f"""
webhook.id, url, secret, CASE WHEN previous_secret_until > now() THEN previous_secret END AS previous_secret,
CASE WHEN NOT of_all_owners THEN account END AS owner, types, after_xid::text AS after_xid, after_place,
since, is_enabled AND {_MAY_RESUME} AND {MAY_READ_SQL} AS may_send,
failing_since IS NOT NULL AS is_failing, failures, {_MOST_WAITING} - {_WAITING} AS room, disabled_reason
"""  # nosec B608 - constants
_LEASE: Final = f"""
WITH newest AS MATERIALIZED (
    SELECT xid FROM event_log WHERE xid < (SELECT pg_snapshot_xmin(pg_current_snapshot()))
    ORDER BY xid DESC LIMIT 1
), taken AS (
    SELECT id FROM webhook WHERE {_IS_FREE} AND {MAY_READ_SQL} AND (
        EXISTS (
            SELECT FROM webhook_delivery
            WHERE webhook = webhook.id AND {_IS_DUE}
                AND (xid IS NULL OR is_enabled AND {_MAY_RESUME})
        )
        OR is_enabled AND {_MAY_RESUME} AND {_WAITING} < {_MOST_WAITING} AND EXISTS (
            SELECT FROM newest
            WHERE after_xid IS NULL OR after_xid < xid OR after_xid = xid AND after_place < {_MOST_PLACE}
        )
    )
    ORDER BY leased_until LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE webhook SET lease = $2, leased_until = now() + {_LEASE_LASTS}
FROM taken WHERE webhook.id = taken.id
RETURNING {_COLUMNS}
"""  # noqa: S608 # nosec B608 - constants

_DUE: Final = f"""
SELECT row, xid::text AS xid, place, event_id, attempts, created_at FROM webhook_delivery
WHERE webhook = $1 AND {_IS_DUE} AND (xid IS NULL OR $2)
ORDER BY xid IS NOT NULL, due_at LIMIT $3
"""  # noqa: S608 # nosec B608 - constants

# A lost reply to the commit makes the same record again.
_INSERT: Final = """
INSERT INTO webhook_delivery (webhook, xid, place, event_id, type, owner, ecg, generation, state, attempts,
    last_attempt_at, due_at, give_up_at, status, error, duration_s)
SELECT $1, xid::xid8, place, event_id, type, owner, ecg, generation,
    CASE WHEN error IS NULL THEN 'delivered' ELSE 'waiting' END, 1, now(),
    CASE WHEN error IS NOT NULL THEN now() + retry_in_s * interval '1 second' END,
    now() + interval '1 day', status, error, duration_s
FROM unnest($2::text[], $3::integer[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::integer[],
    $9::integer[], $10::text[], $11::float8[], $12::float8[])
    AS sent (xid, place, event_id, type, owner, ecg, generation, status, error, duration_s, retry_in_s)
ON CONFLICT (webhook, xid, place) DO NOTHING
"""
_IS_GIVEN_UP: Final = f"give_up_at <= now() AND (xid IS NULL OR attempts + 1 >= {_LEAST_ATTEMPTS})"
_UPDATE: Final = f"""
UPDATE webhook_delivery SET
    state = CASE WHEN was_dropped THEN 'dropped' WHEN sent.error IS NULL THEN 'delivered'
        WHEN {_IS_GIVEN_UP} THEN 'failed' ELSE 'waiting' END,
    due_at = CASE WHEN NOT was_dropped AND sent.error IS NOT NULL AND NOT ({_IS_GIVEN_UP})
        THEN now() + retry_in_s * interval '1 second' END,
    attempts = attempts + (NOT was_dropped)::integer,
    last_attempt_at = CASE WHEN was_dropped THEN last_attempt_at ELSE now() END,
    status = sent.status, error = sent.error, duration_s = sent.duration_s
FROM unnest($2::bigint[], $3::boolean[], $4::integer[], $5::text[], $6::float8[], $7::float8[])
    AS sent (id, was_dropped, status, error, duration_s, retry_in_s)
WHERE webhook = $1 AND row = sent.id AND due_at IS NOT NULL
"""  # noqa: S608 # nosec B608 - constants
_DROPPED: Final = "its ECG was erased, or the event log has forgotten it"

# Whoever takes one of many takes the others, too.
_WAKE: Final = """
UPDATE webhook_delivery SET due_at = now() WHERE webhook = $1 AND due_at > now()
"""
_IS_OVER: Final = f"""
NOT coalesce($5, true) AND coalesce(failing_since < now() - interval '1 day', false)
    AND failures + 1 >= {_LEAST_ATTEMPTS}
"""
_PROGRESS: Final = f"""
UPDATE webhook SET leased_until = now() + {_LEASE_LASTS},
    after_xid = CASE WHEN NOT $9 THEN coalesce($3::text::xid8, after_xid) END,
    after_place = coalesce($4, after_place),
    since = CASE WHEN $3 IS NULL THEN since END,
    failures = CASE WHEN $5 THEN 0 WHEN NOT $5 THEN failures + 1 ELSE failures END,
    failing_since = CASE WHEN $5 THEN NULL WHEN NOT $5 THEN coalesce(failing_since, now())
        ELSE failing_since END,
    last_error = CASE WHEN $5 THEN NULL ELSE coalesce($6, last_error) END,
    resume_at = CASE WHEN $5 THEN now() WHEN NOT $5 THEN now() + $7 * interval '1 second' ELSE resume_at END,
    last_delivered_at = CASE WHEN $5 THEN now() ELSE last_delivered_at END,
    is_enabled = is_enabled AND $8::text IS NULL AND NOT ({_IS_OVER}),
    disabled_at = CASE WHEN is_enabled AND ($8 IS NOT NULL OR {_IS_OVER}) THEN now() ELSE disabled_at END,
    disabled_reason = CASE WHEN NOT is_enabled THEN disabled_reason WHEN $8 IS NOT NULL THEN $8
        WHEN {_IS_OVER} THEN 'nothing was taken for a day; the last time: ' || $6 ELSE disabled_reason END
WHERE id = $1 AND lease = $2
RETURNING {_COLUMNS}
"""  # noqa: S608 # nosec B608 - constants
_LOCK: Final = "SELECT id FROM webhook WHERE id = $1 AND lease = $2 FOR NO KEY UPDATE"
_RENEW: Final = f"""
UPDATE webhook SET leased_until = now() + {_LEASE_LASTS}
FROM unnest($1::uuid[], $2::uuid[]) AS held (id, by) WHERE webhook.id = held.id AND lease = held.by
"""  # noqa: S608 # nosec B608 - constants
_RELEASE: Final = "UPDATE webhook SET leased_until = now(), lease = NULL WHERE id = $1 AND lease = $2"

_FORGET: Final = """
DELETE FROM webhook_delivery WHERE row IN (
    SELECT old.row FROM webhook CROSS JOIN LATERAL (
        SELECT row FROM webhook_delivery
        WHERE webhook = webhook.id AND due_at IS NULL AND (
            created_at < now() - $1::integer * interval '1 day'
            OR state = 'delivered' AND row <= (
                SELECT row FROM webhook_delivery WHERE webhook = webhook.id
                ORDER BY row DESC OFFSET $2 LIMIT 1
            )
        )
        ORDER BY row LIMIT $3
    ) AS old
)
"""


class PostgresWebhookDispatch:
    """`shared.ports.webhook_dispatch.WebhookDispatch` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rights = webhook_rights(database)

    async def lease(self, *, limit: int) -> list[LeasedWebhook]:
        await self._rights.check()
        lease = uuid4()
        async with self._database.connection() as connection:
            return [_leased(row, lease) for row in await connection.fetch(_LEASE, limit, lease)]

    async def due(self, webhook: LeasedWebhook, *, limit: int) -> list[DueDelivery]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_DUE, webhook.id, webhook.may_send, limit)
        return [
            DueDelivery(row["row"], _position(row), row["event_id"], row["attempts"], row["created_at"])
            for row in rows
        ]

    async def record(
        self, webhook: LeasedWebhook, attempted: Sequence[AttemptedDelivery], progress: Progress
    ) -> LeasedWebhook | None:
        async with self._database.connection() as connection, connection.transaction():
            if await connection.fetchval(_LOCK, webhook.id, webhook.lease) is None:
                return None
            await _insert(connection, webhook, [each for each in attempted if each.delivery_id is None])
            await _update(connection, webhook, [each for each in attempted if each.delivery_id is not None])
            if progress.is_taken and webhook.is_failing:
                await connection.execute(_WAKE, webhook.id)
            after = progress.position
            row = await connection.fetchrow(
                _PROGRESS,
                webhook.id,
                webhook.lease,
                None if after is None else str(after.transaction),
                None if after is None else after.place,
                progress.is_taken,
                progress.last_error,
                progress.pause_s,
                progress.disabled_reason,
                progress.begins_anew,
            )
        return None if row is None else _leased(row, webhook.lease)

    async def renew(self, webhooks: Sequence[LeasedWebhook]) -> None:
        async with self._database.connection() as connection:
            await connection.execute(
                _RENEW, [webhook.id for webhook in webhooks], [webhook.lease for webhook in webhooks]
            )

    async def release(self, webhook: LeasedWebhook) -> None:
        async with self._database.connection() as connection:
            await connection.execute(_RELEASE, webhook.id, webhook.lease)

    async def forget_deliveries(self, *, days: int) -> int:
        await self._rights.check()
        async with self._database.connection() as connection:
            status = await connection.execute(_FORGET, days, _KEPT_DELIVERED, _FORGOTTEN_AT_ONCE)
        return int(status.rpartition(" ")[2])


def _leased(row: asyncpg.Record, lease: UUID) -> LeasedWebhook:
    after = row["after_xid"]
    return LeasedWebhook(
        id=row["id"],
        lease=lease,
        url=row["url"],
        secrets=tuple(secret for secret in (row["secret"], row["previous_secret"]) if secret is not None),
        owner=row["owner"],
        types=frozenset(map(EventType, row["types"])),
        position=None if after is None else LogPosition(int(after), row["after_place"]),
        since=row["since"],
        may_send=row["may_send"],
        is_failing=row["is_failing"],
        failures=row["failures"],
        room=max(0, row["room"]),
        disabled_reason=row["disabled_reason"],
    )


def _position(row: asyncpg.Record) -> LogPosition | None:
    return None if row["xid"] is None else LogPosition(int(row["xid"]), row["place"])


async def _insert(
    connection: Connection, webhook: LeasedWebhook, attempted: Sequence[AttemptedDelivery]
) -> None:
    rows = [
        (
            str(each.position.transaction),
            each.position.place,
            each.event_id,
            each.type,
            *each.key,
            each.attempt.status,
            each.attempt.error,
            each.attempt.duration_s,
            each.retry_in_s,
        )
        for each in attempted
        if each.position is not None and each.key is not None and each.attempt is not None
    ]
    if rows:
        await connection.execute(_INSERT, webhook.id, *map(list, zip(*rows, strict=True)))


async def _update(
    connection: Connection, webhook: LeasedWebhook, attempted: Sequence[AttemptedDelivery]
) -> None:
    rows = [
        (each.delivery_id, False, *each.attempt[:3], each.retry_in_s)
        if each.attempt is not None
        else (each.delivery_id, True, None, _DROPPED, None, 0.0)
        for each in attempted
    ]
    if rows:
        await connection.execute(_UPDATE, webhook.id, *map(list, zip(*rows, strict=True)))
