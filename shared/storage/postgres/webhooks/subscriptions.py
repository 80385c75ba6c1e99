"""Webhooks in PostgreSQL, as their owners see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.domain.webhook import DeliveryState, Webhook, WebhookDelivery
from shared.events import PING
from shared.storage.postgres.webhooks.rights import MAY_READ_SQL, webhook_rights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    import asyncpg

    from shared.ports.webhooks import NewWebhook, WebhookChange
    from shared.storage.pool.database import Database

# So that two webhooks which are added at the same time count each other.
_LOCK_ACCOUNT: Final = "SELECT name FROM account WHERE name = $1 FOR NO KEY UPDATE"

_COLUMNS: Final = f"""
id, account, url, description, types, of_all_owners, created_at,
CASE WHEN previous_secret_until > now() THEN previous_secret_until END AS previous_secret_until,
is_enabled, disabled_at, disabled_reason, failures, failing_since, last_error, resume_at, last_delivered_at,
(
    SELECT count(*) FROM webhook_delivery WHERE webhook = id AND due_at IS NOT NULL AND xid IS NOT NULL
) AS waiting,
{MAY_READ_SQL} AS may_read
"""  # noqa: S608 # nosec B608 - constants
_ADD: Final = f"""
INSERT INTO webhook (id, account, url, description, types, of_all_owners, secret, after_xid, after_place,
    since)
SELECT $1, $2, $3, $4, $5, $6, $7, $8::text::xid8, $9, $10
WHERE (SELECT count(*) FROM webhook WHERE account = $2) < $11
RETURNING {_COLUMNS}
"""  # noqa: S608 # nosec B608 - constants
_BY_ACCOUNT: Final = f"SELECT {_COLUMNS} FROM webhook WHERE account = $1 ORDER BY created_at DESC, id"  # noqa: S608 # nosec B608
_FIND: Final = f"SELECT {_COLUMNS} FROM webhook WHERE id = $1 AND account = $2"  # noqa: S608 # nosec B608

# To enable a webhook begins anew: it sends at once, and what waits has a day again.
_CHANGE: Final = f"""
WITH given AS (
    UPDATE webhook_delivery SET due_at = now(), give_up_at = now() + interval '1 day'
    WHERE webhook = $1 AND due_at IS NOT NULL AND xid IS NOT NULL AND $6
        AND EXISTS (SELECT FROM webhook WHERE id = $1 AND account = $2)
)
UPDATE webhook SET url = coalesce($3, url), description = coalesce($4, description),
    types = coalesce($5, types),
    is_enabled = coalesce($6, is_enabled),
    disabled_at = CASE WHEN $6 THEN NULL WHEN NOT $6 AND is_enabled THEN now() ELSE disabled_at END,
    disabled_reason = CASE WHEN $6 THEN NULL ELSE disabled_reason END,
    failures = CASE WHEN $6 THEN 0 ELSE failures END,
    failing_since = CASE WHEN $6 THEN NULL ELSE failing_since END,
    resume_at = CASE WHEN $6 OR $3 IS NOT NULL THEN now() ELSE resume_at END
WHERE id = $1 AND account = $2
RETURNING {_COLUMNS}
"""  # noqa: S608 # nosec B608 - constants
_REMOVE: Final = "DELETE FROM webhook WHERE id = $1 AND account = $2 RETURNING id"
_REMOVE_DELIVERIES: Final = "DELETE FROM webhook_delivery WHERE webhook = $1"
_ROTATE: Final = f"""
UPDATE webhook SET secret = $3, previous_secret = secret, previous_secret_until = now() + interval '1 day'
WHERE id = $1 AND account = $2
RETURNING {_COLUMNS}
"""  # noqa: S608 # nosec B608 - constants

_DELIVERY_COLUMNS: Final = """
webhook_delivery.row, event_id, type, owner, ecg, generation, state, attempts, webhook_delivery.created_at,
last_attempt_at, due_at, status, error, duration_s
"""
_OF_ACCOUNT: Final = (
    "EXISTS (SELECT FROM webhook WHERE webhook.id = webhook_delivery.webhook AND account = $2)"
)
_LOCK: Final = "SELECT id FROM webhook WHERE id = $1 AND account = $2 FOR NO KEY UPDATE"
_WAITING_PING: Final = f"""
SELECT {_DELIVERY_COLUMNS} FROM webhook_delivery WHERE webhook = $1 AND due_at IS NOT NULL AND xid IS NULL
"""  # noqa: S608 # nosec B608 - constants
_PING: Final = f"""
INSERT INTO webhook_delivery (webhook, event_id, type, state, attempts, due_at, give_up_at)
VALUES ($1, $2, '{PING}', 'waiting', 0, now(), now())
RETURNING {_DELIVERY_COLUMNS}
"""  # noqa: S608 # nosec B608 - constants
_DELIVERIES: Final = f"""
SELECT {_DELIVERY_COLUMNS} FROM webhook_delivery
WHERE webhook = $1 AND {_OF_ACCOUNT} AND ($3::bigint IS NULL OR row < $3) AND ($4::text IS NULL OR state = $4)
ORDER BY row DESC LIMIT $5
"""  # noqa: S608 # nosec B608 - constants
_RESEND: Final = f"""
UPDATE webhook_delivery SET state = 'waiting', due_at = now(), give_up_at = now() + interval '1 day'
WHERE webhook = $1 AND {_OF_ACCOUNT} AND row = $3 AND xid IS NOT NULL
RETURNING {_DELIVERY_COLUMNS}
"""  # noqa: S608 # nosec B608 - constants


class PostgresWebhookStore:
    """`shared.ports.webhooks.WebhookStore` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rights = webhook_rights(database)

    async def add(self, new: NewWebhook, *, limit: int) -> Webhook | None:
        await self._rights.check()
        position = (None, 0) if new.after is None else (str(new.after.transaction), new.after.place)
        values = (new.id, new.account, new.url, new.description, sorted(new.types), new.of_all_owners)
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(_LOCK_ACCOUNT, new.account)
            row = await connection.fetchrow(_ADD, *values, new.secret, *position, new.since, limit)
        return None if row is None else _webhook_of(row)

    async def webhooks_of(self, account: str) -> list[Webhook]:
        await self._rights.check()
        async with self._database.connection() as connection:
            return [_webhook_of(row) for row in await connection.fetch(_BY_ACCOUNT, account)]

    async def find(self, webhook_id: UUID, *, account: str) -> Webhook | None:
        row = await self._fetch_row(_FIND, webhook_id, account)
        return None if row is None else _webhook_of(row)

    async def change(self, webhook_id: UUID, change: WebhookChange, *, account: str) -> Webhook | None:
        types = None if change.types is None else sorted(change.types)
        values = (change.url, change.description, types, change.is_enabled)
        row = await self._fetch_row(_CHANGE, webhook_id, account, *values)
        return None if row is None else _webhook_of(row)

    async def remove(self, webhook_id: UUID, *, account: str) -> bool:
        await self._rights.check()
        async with self._database.connection() as connection, connection.transaction():
            if await connection.fetchval(_REMOVE, webhook_id, account) is None:
                return False
            # A record of a processor that was waited for is seen by this statement.
            await connection.execute(_REMOVE_DELIVERIES, webhook_id)
        return True

    async def rotate(self, webhook_id: UUID, secret: str, *, account: str) -> Webhook | None:
        row = await self._fetch_row(_ROTATE, webhook_id, account, secret)
        return None if row is None else _webhook_of(row)

    async def ping(self, webhook_id: UUID, event_id: UUID, *, account: str) -> WebhookDelivery | None:
        await self._rights.check()
        async with self._database.connection() as connection, connection.transaction():
            if await connection.fetchval(_LOCK, webhook_id, account) is None:
                return None
            row = await connection.fetchrow(_WAITING_PING, webhook_id)
            row = row or await connection.fetchrow(_PING, webhook_id, event_id)
        return None if row is None else _delivery_of(row)

    async def deliveries(
        self,
        webhook_id: UUID,
        *,
        account: str,
        before: int | None,
        state: DeliveryState | None,
        limit: int,
    ) -> Sequence[WebhookDelivery]:
        await self._rights.check()
        async with self._database.connection() as connection:
            rows = await connection.fetch(_DELIVERIES, webhook_id, account, before, state, limit)
        return [_delivery_of(row) for row in rows]

    async def resend(self, webhook_id: UUID, delivery_id: int, *, account: str) -> WebhookDelivery | None:
        row = await self._fetch_row(_RESEND, webhook_id, account, delivery_id)
        return None if row is None else _delivery_of(row)

    async def _fetch_row(self, statement: str, *values: object) -> asyncpg.Record | None:
        await self._rights.check()
        async with self._database.connection() as connection:
            return await connection.fetchrow(statement, *values)


def _webhook_of(row: asyncpg.Record) -> Webhook:
    return Webhook(**dict(row) | {"types": frozenset(row["types"])})


def _delivery_of(row: asyncpg.Record) -> WebhookDelivery:
    return WebhookDelivery(
        id=row["row"],
        event_id=row["event_id"],
        type=row["type"],
        subject=None if row["ecg"] is None else f"{row['owner']}/{row['ecg']}",
        generation=row["generation"],
        state=DeliveryState(row["state"]),
        attempts=row["attempts"],
        created_at=row["created_at"],
        last_attempt_at=row["last_attempt_at"],
        due_at=row["due_at"],
        status=row["status"],
        error=row["error"],
        duration_s=row["duration_s"],
    )
