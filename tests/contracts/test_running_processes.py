"""A migration is refused while a process runs that does not work with the schema that it leads to."""

from __future__ import annotations

import secrets

import pytest

from shared.domain.errors import ConflictError
from shared.storage.schema.compatibility import NEWEST_SCHEMA, OLDEST_SCHEMA
from shared.storage.schema.migrations import migrate
from tests.support.databases import open_connection, open_empty_database


@pytest.mark.parametrize(
    ("running", "schema"),
    [
        ("isoline gateway 0.1.0 schema=8..8", 7),
        ("isoline gateway 0.3.0 schema=9..10", 8),
        ("isoline processor 0.0.9 schema=7..7", 9),
        ("isoline", 9),
    ],
)
async def test_a_schema_that_a_running_process_does_not_work_with_is_refused_unless_forced(
    database_url: str, running: str, schema: int
) -> None:
    if schema == NEWEST_SCHEMA:
        await migrate(database_url, to=OLDEST_SCHEMA)
    async with open_connection(database_url, running):
        with pytest.raises(ConflictError) as refusal:
            await migrate(database_url, to=schema)
        forced = await migrate(database_url, to=schema, force=True)

    assert f"schema {schema:04} is not for {running}, which run now" in str(refusal.value)
    assert "--force" in str(refusal.value)
    assert int(forced[:4]) == schema


@pytest.mark.parametrize(
    "running",
    [
        "isoline gateway 0.1.0 schema=8..8",
        "isoline processor 0.2.0 schema=8..9",
        "isoline embedded 0.3.0 schema=8..12",
        "isolines",
        "psql",
    ],
)
async def test_processes_that_work_with_both_schemas_are_no_reason_to_refuse(
    database_url: str, running: str
) -> None:
    async with open_connection(database_url, running):
        assert int((await migrate(database_url, to=8))[:4]) == 8
        assert int((await migrate(database_url, to=9))[:4]) == 9


async def test_processes_of_another_database_are_no_reason_to_refuse(
    postgres_url: str, database_url: str
) -> None:
    async with open_empty_database(postgres_url) as other, open_connection(other, "isoline"):
        assert int((await migrate(database_url, to=OLDEST_SCHEMA))[:4]) == OLDEST_SCHEMA


async def test_every_role_can_see_which_processes_run(database_url: str) -> None:
    name = "isoline gateway 0.1.0 schema=8..8"
    role = f"migrator_{secrets.token_hex(4)}"
    async with open_connection(database_url, name), open_connection(database_url) as connection:
        await connection.execute(f"CREATE ROLE {role}; SET ROLE {role}")
        try:
            names = await connection.fetch(
                "SELECT application_name FROM pg_stat_activity WHERE datname = current_database()"
            )
        finally:
            await connection.execute(f"RESET ROLE; DROP ROLE {role}")

    assert name in {row["application_name"] for row in names}
