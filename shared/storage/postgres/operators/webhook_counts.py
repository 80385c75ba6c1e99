"""Webhooks of all accounts, counted in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.ports.operators.webhook_counts import WebhookCounts

if TYPE_CHECKING:
    from shared.storage.pool.database import Database

# Schemas from before 0025 have no such table; a role that was granted its privileges before has none on it.
_MAY_READ: Final = """
SELECT coalesce(has_column_privilege(to_regclass('webhook'), 'is_enabled', 'SELECT'), false)
WHERE to_regclass('webhook') IS NOT NULL
"""
_COUNT: Final = """
SELECT count(*) FILTER (WHERE is_enabled AND failing_since IS NULL),
    count(*) FILTER (WHERE is_enabled AND failing_since IS NOT NULL),
    count(*) FILTER (WHERE NOT is_enabled AND disabled_reason IS NULL),
    count(*) FILTER (WHERE NOT is_enabled AND disabled_reason IS NOT NULL),
    min(coalesce(disabled_reason, last_error)) FILTER (WHERE is_enabled AND failing_since IS NOT NULL
        OR NOT is_enabled AND disabled_reason IS NOT NULL)
FROM webhook
"""


class PostgresWebhookCounter:
    """`shared.ports.operators.webhook_counts.WebhookCounter` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self) -> WebhookCounts | None:
        async with self._database.connection() as connection:
            if not await connection.fetchval(_MAY_READ):
                return None
            [row] = await connection.fetch(_COUNT)
        return WebhookCounts(*row)
