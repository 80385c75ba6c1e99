"""Whether this schema has webhooks, and this role may use them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.domain.errors import UnavailableError

if TYPE_CHECKING:
    from shared.storage.pool.database import Database

# Schemas from before 0025 have no such tables; a role that was granted its privileges before has none on
# them. Asked before any other statement, because one that fails for this reason ends the session.
_MAY_USE: Final = "SELECT coalesce(has_table_privilege(to_regclass('webhook_delivery'), 'DELETE'), false)"

# Its account is there, and has a role by which it could read the events itself.
MAY_READ_SQL: Final = """
EXISTS (
    SELECT FROM account WHERE account.name = webhook.account AND deleted_at IS NULL
        AND roles && CASE WHEN of_all_owners THEN ARRAY['subscriber'] ELSE ARRAY['subscriber', 'user'] END
)
"""


class WebhookRights:
    """The right to webhooks, asked for until it is there."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._may_use = False

    async def check(self) -> None:
        """Return if there are webhooks, and this service may use them.

        Raises:
            UnavailableError: The migration is missing, or the grant after it.
        """
        if not self._may_use:
            async with self._database.connection() as connection:
                self._may_use = await connection.fetchval(_MAY_USE)
        if not self._may_use:
            raise UnavailableError(
                "PostgreSQL: no right to webhooks; run `isoline migrate`, and `isoline db grant` after it",
                for_sender="Webhooks are not set up here yet.",
                needs_operator=True,
            )
