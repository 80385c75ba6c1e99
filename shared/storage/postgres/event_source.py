"""The source that events name, in the table `installation`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.domain.errors import UnavailableError
from shared.events import LEGACY_SOURCE

if TYPE_CHECKING:
    from shared.storage.pool.database import Database

# Schemas from before 0012 have no such table.
_HAS_SOURCE: Final = "SELECT to_regclass('installation') IS NOT NULL"
_SOURCE: Final = "SELECT source FROM installation"


class PostgresEventSource:
    """`shared.ports.event_source.EventSource` on PostgreSQL.

    Args:
        source: Set by an operator; empty to use the one in the database.
    """

    def __init__(self, database: Database, *, source: str = "") -> None:
        self._database = database
        self._named = source
        self._known = ""
        self._sessions = 0

    async def uri(self) -> str:
        if self._named:
            return self._named
        # A new session may lead to another database, restored from another installation.
        if not self._known or self._sessions != self._database.sessions:
            async with self._database.connection() as connection:
                if not await connection.fetchval(_HAS_SOURCE):
                    return LEGACY_SOURCE  # and a migration may make one at any time
                self._known = await connection.fetchval(_SOURCE) or ""
                self._sessions = self._database.sessions
        if not self._known:
            raise UnavailableError("the table `installation` has no row", needs_operator=True)
        return self._known
