"""Whether a table of a later schema is there, and this role may use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.domain.errors import UnavailableError

if TYPE_CHECKING:
    from shared.storage.pool.database import Database

# Earlier schemas have no such table; a role that was granted its privileges before has none on it. Asked
# before any other statement, because one that fails for this reason ends the session.
_MAY_USE: Final = "SELECT coalesce(has_table_privilege(to_regclass($1), 'DELETE'), false)"


class TableRights:
    """The right to a table, asked for until it is there.

    Args:
        table: That each service which uses it may delete from.
        what: It holds, in words for senders.
    """

    def __init__(self, database: Database, table: str, *, what: str) -> None:
        self._database = database
        self._table = table
        self._what = what
        self._may_use = False

    async def check(self) -> None:
        """Return if the table is there, and this service may use it.

        Raises:
            UnavailableError: The migration is missing, or the grant after it.
        """
        if not self._may_use:
            async with self._database.connection() as connection:
                self._may_use = await connection.fetchval(_MAY_USE, self._table)
        if not self._may_use:
            raise UnavailableError(
                f"PostgreSQL: no right to {self._what}; "
                "run `isoline migrate`, and `isoline db grant` after it",
                for_sender=f"{self._what[0].upper()}{self._what[1:]} are not set up here yet.",
                needs_operator=True,
            )
