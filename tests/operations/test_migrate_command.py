"""``isoline migrate``, and other commands on an incompatible schema."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Final

import asyncpg
import pytest

from shared.storage.schema.compatibility import MIGRATIONS, NEWEST_SCHEMA
from tests.e2e.conftest import ROOT
from tests.support.databases import open_empty_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_WITHIN_S: Final = 60.0
_LATER: Final = """
INSERT INTO _pogo_migration (migration_hash, migration_id, schema_name, applied)
VALUES ('x', '9999_later', 'public', now())
"""


async def isoline(url: str, *arguments: str) -> tuple[int | None, str]:
    """Exit status, and all that was printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "isoline", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"ISOLINE_DATABASE_URL": url, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
    )
    async with asyncio.timeout(_WITHIN_S):
        printed, _ = await process.communicate()
    return process.returncode, printed.decode()


@pytest.fixture
async def empty_url(postgres_url: str) -> AsyncIterator[str]:
    async with open_empty_database(postgres_url) as url:
        yield url


async def test_a_schema_is_brought_up_to_date_and_back(empty_url: str) -> None:
    newest = (0, f"The schema is {next(MIGRATIONS.glob(f'{NEWEST_SCHEMA:04}_*')).stem}.\n")

    assert await isoline(empty_url, "migrate") == newest
    assert await isoline(empty_url, "migrate") == newest
    assert await isoline(empty_url, "migrate", "--to", "0008") == (0, "The schema is 0008_bundles.\n")
    assert await isoline(empty_url, "migrate", "--to", "9") == (0, "The schema is 0009_compatibility.\n")
    assert await isoline(empty_url, "migrate", "--to", "0008_bundles") == (0, "The schema is 0008_bundles.\n")


@pytest.mark.parametrize("name", ["nine", "", "-1", "8.0", "٨"])
async def test_what_is_no_schema_is_said_to_be_none(database_url: str, name: str) -> None:
    status, printed = await isoline(database_url, "migrate", f"--to={name}")

    assert status == 2
    assert printed == f"--to wants the number of a schema, such as {NEWEST_SCHEMA:04}, not {name!r}\n"


async def test_a_refusal_names_the_running_processes_and_the_remedy_in_one_sentence(
    database_url: str,
) -> None:
    name = "isoline gateway 9.0.0 schema=9..12"
    connection = await asyncpg.connect(database_url, timeout=10, server_settings={"application_name": name})
    try:
        refused = await isoline(database_url, "migrate", "--to", "8")
        forced = await isoline(database_url, "migrate", "--to", "8", "--force")
    finally:
        await connection.close()

    assert refused[0] == 1
    assert refused[1].startswith(f"schema 0008 is not for {name}, which run now: ")
    assert refused[1].count("\n") == 1
    assert forced == (0, "The schema is 0008_bundles.\n")


@pytest.mark.parametrize(
    "command",
    [
        ["migrate"],
        ["user", "list"],
        ["replay", "--failed", "--why", "mended", "--yes"],
    ],
    ids=lambda command: command[0],
)
async def test_no_command_works_on_a_schema_that_is_not_for_it(database_url: str, command: list[str]) -> None:
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        await connection.execute(_LATER)
    finally:
        await connection.close()

    status, printed = await isoline(database_url, *command)

    assert status == 2
    assert printed.startswith("the schema is newer than this process: ['9999_later'] may break it; ")
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    "command", [["replay", "--failed"], ["dlq", "replay", "--all"], ["dlq", "drop", "--all"]]
)
async def test_a_change_without_a_reason_is_refused(database_url: str, command: list[str]) -> None:
    status, printed = await isoline(database_url, *command, "--why", " ", "--yes")

    assert status == 2
    assert "it is empty" in printed


async def test_a_command_on_a_database_that_was_not_migrated_says_what_to_do(database_url: str) -> None:
    connection = await asyncpg.connect(database_url, timeout=10)
    try:
        await connection.execute("DELETE FROM _pogo_migration")
    finally:
        await connection.close()

    status, printed = await isoline(database_url, "user", "list")

    assert status == 2
    assert printed.startswith("migrations are pending, run `isoline migrate`: ")
