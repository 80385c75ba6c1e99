"""Who may use webhooks, and who may be sent what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.storage.postgres.table_rights import TableRights

if TYPE_CHECKING:
    from shared.storage.pool.database import Database

# Its account is there, and has a role by which it could read the events itself.
MAY_READ_SQL: Final = """
EXISTS (
    SELECT FROM account WHERE account.name = webhook.account AND deleted_at IS NULL
        AND roles && CASE WHEN of_all_owners THEN ARRAY['subscriber'] ELSE ARRAY['subscriber', 'user'] END
)
"""


def webhook_rights(database: Database) -> TableRights:
    """The right of this service to webhooks."""
    return TableRights(database, "webhook_delivery", what="webhooks")
