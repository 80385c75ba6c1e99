"""The range of schemas that this code works with, and the check that the database has one of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import asyncpg

from shared.domain.errors import ConfigurationError, UnavailableError
from shared.runtime.process import process_name

if TYPE_CHECKING:
    from collections.abc import Collection

    from shared.storage.pool.database import Connection, Database

    AnyConnection = Connection | asyncpg.Connection[asyncpg.Record]

MIGRATIONS: Final = Path(__file__).parents[3] / "migrations"

# Read at import: an upgrade in place adds migrations while a process runs older code.
_KNOWN: Final = {int(path.stem.partition("_")[0]): path.stem for path in MIGRATIONS.glob("*.sql")}

# A schema has the number of its newest migration. This code works with every schema of this range; the oldest
# is the newest of the last minor release, see migrations/README.md.
OLDEST_SCHEMA: Final = 8
NEWEST_SCHEMA: Final = max(_KNOWN)

_SCHEMA: Final = "public"
_APPLIED: Final = "SELECT migration_id FROM public._pogo_migration WHERE schema_name = $1"

# `oldest_code` is the newest schema known to the oldest code that still works with the migration. Releases
# from before a migration read this, so that the table and these two columns never change.
_COMPATIBLE: Final = "SELECT migration_id FROM public.schema_compatibility WHERE oldest_code <= $1"


def connection_name(service: str) -> str:
    """The application name of a connection: that of the process, and the range of schemas."""
    return f"{process_name(service)} schema={OLDEST_SCHEMA}..{NEWEST_SCHEMA}"


class Schema(NamedTuple):
    """The schema of a database, as it was read.

    Attributes:
        character_set: Of the database, see `character_set_of`.
        applied: Names of all applied migrations.
        incompatible: Applied migrations that are unknown to this code and may break it.
    """

    character_set: str
    applied: Collection[str]
    incompatible: Collection[str]

    @property
    def pending(self) -> list[str]:
        """Names of the migrations that are known to this code and not applied, in order."""
        return sorted(name for name in _KNOWN.values() if name not in self.applied)

    def check(self) -> None:
        """As `check_schema`."""
        check_character_set(self.character_set)
        if (pending := self.pending) and int(pending[0].partition("_")[0]) <= OLDEST_SCHEMA:
            raise UnavailableError(
                f"migrations are pending, run `isoline migrate`: {pending}",
                needs_operator=True,
            )
        if self.incompatible:
            raise ConfigurationError(_too_new(self.incompatible))


async def read_schema(connection: AnyConnection) -> Schema:
    """Read the schema of the database of a connection."""
    applied = await applied_migrations(connection)
    later = applied.difference(_KNOWN.values())
    incompatible = later.difference(await _compatible_migrations(connection)) if later else later
    return Schema(character_set_of(connection), applied, incompatible)


async def check_schema(database: Database) -> None:
    """Return if this code works with the schema.

    It works with each from its oldest to its newest, and with a later one if every unknown migration states
    that code as old as this still works.

    Raises:
        ConfigurationError: A later release applied migrations that may break this code, or the database is
            not UTF-8.
        UnavailableError: Migrations are missing, or PostgreSQL is unavailable or was never migrated.
    """
    async with database.connection() as connection:
        schema = await read_schema(connection)
    schema.check()


async def check_schema_of(connection: AnyConnection) -> None:
    """`check_schema` on an open connection."""
    (await read_schema(connection)).check()


def character_set_of(connection: AnyConnection) -> str:
    """The database's character set, which PostgreSQL calls its encoding and reports on connecting."""
    character_set: str = connection.get_settings().server_encoding
    return character_set


def check_character_set(character_set: str) -> None:
    """Return if the database can store every character of JSON.

    Args:
        character_set: Of the database, see `character_set_of`.

    Raises:
        ConfigurationError: The database is not UTF-8.
    """
    if character_set != "UTF8":
        raise ConfigurationError(
            f"the database is encoded in {character_set} and has no place for other characters; "
            "make one with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )


async def applied_migrations(connection: AnyConnection) -> set[str]:
    """The names of all applied migrations, known to this code or not."""
    try:
        return {row["migration_id"] for row in await connection.fetch(_APPLIED, _SCHEMA)}
    except asyncpg.UndefinedTableError:  # it was never migrated
        return set()


async def _compatible_migrations(connection: AnyConnection) -> Collection[str]:
    """The applied migrations with which this code works, by their own statements."""
    try:
        return {row["migration_id"] for row in await connection.fetch(_COMPATIBLE, NEWEST_SCHEMA)}
    except asyncpg.UndefinedTableError:  # no migration has stated anything
        return ()


def _too_new(migrations: Collection[str]) -> str:
    return (
        f"the schema is newer than this process: {sorted(migrations)} may break it; start the release that "
        f"brought them, or go back with its `isoline migrate --to {NEWEST_SCHEMA:04}`"
    )
