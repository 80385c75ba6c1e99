"""What a server of PostgreSQL says of itself, and its clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.ports.servers import DatabaseServer

if TYPE_CHECKING:
    from shared.storage.pool.database import Database

# Only clients have a database of their own; a role without rights sees that much of other sessions.
_SERVER: Final = """
SELECT current_setting('server_version'),
    NOT (pg_is_in_recovery() OR current_setting('transaction_read_only')::bool),
    current_setting('fsync')::bool AND current_setting('full_page_writes')::bool,
    current_setting('synchronous_commit'),
    current_setting('synchronous_standby_names'),
    (SELECT count(datid) FROM pg_stat_activity),
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
"""
_CLOCK: Final = "SELECT extract(epoch FROM clock_timestamp())::float8"


async def read_server(database: Database) -> DatabaseServer:
    """The server that a session of this database is on.

    Raises:
        UnavailableError: It can't be read.
    """
    async with database.connection() as connection:
        [row] = await connection.fetch(_SERVER)
    return DatabaseServer(*row)


async def read_clock(database: Database) -> float:
    """The server's clock, in seconds since 1970.

    Raises:
        UnavailableError: It can't be read.
    """
    async with database.connection() as connection:
        return float(await connection.fetchval(_CLOCK))
