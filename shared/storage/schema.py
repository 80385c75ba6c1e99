"""The schemas that this code works with: brought up to date, accepted, or refused."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg
from pogo_core.util import migrate as pogo

from shared.domain.errors import ConfigurationError, UnavailableError
from shared.storage.postgres_errors import translated_errors

if TYPE_CHECKING:
    from collections.abc import Collection

    from shared.storage.postgres import Connection, Database

MIGRATIONS: Final = Path(__file__).parents[2] / "migrations"

# Read at import: an upgrade in place puts new migrations below a process that runs the code from before them.
_KNOWN: Final = {int(path.stem.partition("_")[0]): path.stem for path in MIGRATIONS.glob("*.sql")}

# A schema has the number of its newest migration. Between these two, this code works with every one.
OLDEST_SCHEMA: Final = 8
NEWEST_SCHEMA: Final = max(_KNOWN)

_SCHEMA: Final = "public"
_CONNECT_TIMEOUT_S: Final = 10.0
_LOCK: Final = "SELECT pg_advisory_lock(hashtext('isoline.migrate'))"
_APPLIED: Final = "SELECT migration_id FROM public._pogo_migration WHERE schema_name = $1"

# `oldest_code` is the newest schema that the oldest code knows which goes on working beside the migration.
# Releases from before a migration read this, so that the table and these two columns never change.
_BEARABLE: Final = "SELECT migration_id FROM public.schema_compatibility WHERE oldest_code <= $1"


def connection_name(service: str) -> str:
    """How PostgreSQL shows a connection: the service, the release, and the schemas that it works with."""
    return f"isoline {service} {version('isoline')} schema={OLDEST_SCHEMA}..{NEWEST_SCHEMA}"


async def apply_migrations(url: str) -> None:
    """Bring the schema up to date; harmless when it is, and when several processes do it at once.

    Raises:
        ConfigurationError: The database is not UTF-8, or a later release brought the schema to where this
            code does not work with it.
        UnavailableError: PostgreSQL could not be reached, or refused something.
    """
    with translated_errors():
        connection = await asyncpg.connect(url, timeout=_CONNECT_TIMEOUT_S)
        try:
            _check_encoding(connection)
            await connection.execute(_LOCK)  # held until the connection closes
            await pogo.apply(connection, MIGRATIONS, schema_name=_SCHEMA)
            await _check_schema(connection)
        finally:
            await connection.close(timeout=_CONNECT_TIMEOUT_S)


async def check_schema(database: Database) -> None:
    """Return if this code works with the schema.

    It works with each from its oldest to its newest, and with a later one if every migration that it does not
    know states that code as old as this goes on working.

    Raises:
        ConfigurationError: Migrations came from a later release and are not for this code, or the database is
            not UTF-8.
        UnavailableError: Migrations are missing, or PostgreSQL is away or was never migrated.
    """
    async with database.connection() as connection:
        await _check_schema(connection)


async def _check_schema(connection: Connection | asyncpg.Connection[asyncpg.Record]) -> None:
    _check_encoding(connection)
    applied = await _applied(connection)
    missing = {number: name for number, name in _KNOWN.items() if name not in applied}
    if missing and min(missing) <= OLDEST_SCHEMA:
        raise UnavailableError(f"migrations are pending, run `isoline migrate`: {sorted(missing.values())}")
    later = applied.difference(_KNOWN.values())
    if later and (unbearable := later.difference(await _bearable(connection))):
        raise ConfigurationError(_too_new(unbearable))


def _check_encoding(connection: Connection | asyncpg.Connection[asyncpg.Record]) -> None:
    """Return if every name that JSON can hold can be stored; the server said how when it was connected to."""
    encoding = connection.get_settings().server_encoding
    if encoding != "UTF8":
        raise ConfigurationError(
            f"the database is encoded in {encoding} and has no place for other characters; "
            "make one with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )


async def _applied(connection: Connection | asyncpg.Connection[asyncpg.Record]) -> set[str]:
    try:
        return {row["migration_id"] for row in await connection.fetch(_APPLIED, _SCHEMA)}
    except asyncpg.UndefinedTableError:  # it was never migrated
        return set()


async def _bearable(connection: Connection | asyncpg.Connection[asyncpg.Record]) -> Collection[str]:
    """The migrations beside which this code works on."""
    try:
        return {row["migration_id"] for row in await connection.fetch(_BEARABLE, NEWEST_SCHEMA)}
    except asyncpg.UndefinedTableError:  # no migration said anything
        return ()


def _too_new(migrations: Collection[str]) -> str:
    return (
        f"the schema is newer than this process: {sorted(migrations)} may break it; start the release that "
        f"brought them, or go back with its `isoline migrate --to {NEWEST_SCHEMA:04}`"
    )
