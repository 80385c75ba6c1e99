"""The schema that this code works with: brought up to date, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import asyncpg
from pogo_core.util import migrate as pogo

from shared.domain.errors import ConfigurationError, UnavailableError
from shared.storage.postgres import Database, translated_errors

MIGRATIONS: Final = Path(__file__).parents[2] / "migrations"

_SCHEMA: Final = "public"
_CONNECT_TIMEOUT_S: Final = 10.0
_LOCK: Final = "SELECT pg_advisory_lock(hashtext('isoline.migrate'))"
_APPLIED: Final = "SELECT migration_id FROM public._pogo_migration WHERE schema_name = $1"


async def apply_migrations(url: str) -> None:
    """Bring the schema up to date; harmless when it is, and when several processes do it at once.

    Raises:
        UnavailableError: PostgreSQL could not be reached.
    """
    with translated_errors():
        connection = await asyncpg.connect(url, timeout=_CONNECT_TIMEOUT_S)
    try:
        await connection.execute(_LOCK)  # held until the connection closes
        await pogo.apply(connection, MIGRATIONS, schema_name=_SCHEMA)
    finally:
        await connection.close()


async def check_schema(database: Database) -> None:
    """Return if every migration that this code knows was applied, and no other.

    Raises:
        ConfigurationError: Migrations are missing, or came from a later version.
        UnavailableError: PostgreSQL is away, or was never migrated.
    """
    async with database.connection() as connection:
        applied = {row["migration_id"] for row in await connection.fetch(_APPLIED, _SCHEMA)}
    known = {path.stem for path in MIGRATIONS.glob("*.sql")}
    if known - applied:
        raise UnavailableError(f"migrations are pending, run `isoline migrate`: {sorted(known - applied)}")
    if applied - known:
        raise ConfigurationError(f"the schema is newer than this process: {sorted(applied - known)}")
