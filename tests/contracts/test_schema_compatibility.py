"""The schemas that this code works with, and its errors for others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from shared.domain.errors import ConfigurationError, UnavailableError
from shared.storage.pool.database import open_database
from shared.storage.schema.compatibility import (
    NEWEST_SCHEMA,
    OLDEST_SCHEMA,
    check_schema,
    connection_name,
)
from shared.storage.schema.migrations import migrate
from tests.support.databases import open_empty_database

if TYPE_CHECKING:
    from shared.storage.pool.database import Database

_COMPATIBILITY = """
CREATE TABLE IF NOT EXISTS schema_compatibility (migration_id text PRIMARY KEY, oldest_code integer NOT NULL)
"""
_APPLIED = """
INSERT INTO _pogo_migration (migration_hash, migration_id, schema_name, applied)
VALUES (md5($1), $1, 'public', now())
"""
_STATED = "INSERT INTO schema_compatibility (migration_id, oldest_code) VALUES ($1, $2)"
_NAMES = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"


async def migrate_further(database: Database, **oldest_code: int | None) -> None:
    """Apply migrations of a later release, each with what it states, or nothing."""
    async with database.connection() as connection:
        await connection.execute(_COMPATIBILITY)
        for migration, oldest in oldest_code.items():
            await connection.execute(_APPLIED, migration.lstrip("_"))
            if oldest is not None:
                await connection.execute(_STATED, migration.lstrip("_"), oldest)


async def test_the_schema_of_this_release_is_accepted(database: Database) -> None:
    await check_schema(database)


async def test_later_migrations_that_leave_this_code_working_are_accepted(
    database: Database, database_url: str
) -> None:
    await migrate_further(database, _9998_later=NEWEST_SCHEMA, _9999_later=1)

    await check_schema(database)
    await migrate(database_url)


@pytest.mark.parametrize("oldest_code", [NEWEST_SCHEMA + 1, None])
async def test_a_later_migration_that_does_not_promise_to_leave_this_code_working_is_refused(
    database: Database, database_url: str, oldest_code: int | None
) -> None:
    await migrate_further(database, _9998_later=NEWEST_SCHEMA, _9999_later=oldest_code)
    expected = rf"newer than this process: \['9999_later'\].*`isoline migrate --to {NEWEST_SCHEMA:04}`"

    with pytest.raises(ConfigurationError, match=expected):
        await check_schema(database)
    with pytest.raises(ConfigurationError, match=expected):
        await migrate(database_url)


async def test_a_later_migration_is_refused_where_none_ever_promised_anything(database: Database) -> None:
    await migrate_further(database, _9999_later=None)
    async with database.connection() as connection:
        await connection.execute("DROP TABLE schema_compatibility")

    with pytest.raises(ConfigurationError, match=r"\['9999_later'\]"):
        await check_schema(database)


async def test_a_schema_from_before_the_oldest_is_pending(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute(
            "DELETE FROM _pogo_migration WHERE migration_id ^@ $1", f"{OLDEST_SCHEMA:04}_"
        )

    with pytest.raises(UnavailableError, match="run `isoline migrate`"):
        await check_schema(database)


async def test_the_name_of_a_connection_has_service_and_schemas(database_url: str) -> None:
    async with (
        open_database(database_url, name=connection_name("gateway")) as database,
        database.connection() as connection,
    ):
        [[name]] = await connection.fetch(_NAMES)

    assert name.startswith("isoline gateway ")
    assert name.endswith(f" schema={OLDEST_SCHEMA}..{NEWEST_SCHEMA}")


async def test_a_database_that_was_never_migrated_is_not_accepted(postgres_url: str) -> None:
    async with open_empty_database(postgres_url) as url, open_database(url) as database:
        with pytest.raises(UnavailableError):
            await check_schema(database)
