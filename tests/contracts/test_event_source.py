"""The source that an installation's events name."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from shared.domain.errors import UnavailableError
from shared.events import LEGACY_SOURCE
from shared.storage.pool.database import open_database
from shared.storage.postgres.checks import check_erasures, check_results
from shared.storage.postgres.event_source import PostgresEventSource
from shared.storage.schema.migrations import migrate
from tests.support.databases import open_empty_database

if TYPE_CHECKING:
    from shared.storage.pool.database import Database

_BEFORE = 11
_END_OTHERS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


async def execute(database: Database, statement: str) -> None:
    async with database.connection() as connection:
        await connection.execute(statement)


async def source_of(database: Database) -> str:
    return await PostgresEventSource(database).uri()


async def test_each_database_has_a_source_of_its_own(postgres_url: str) -> None:
    sources = []
    for _ in range(2):
        async with open_empty_database(postgres_url) as url, open_database(url) as database:
            await migrate(url)
            sources.append(await source_of(database))

    first, second = [UUID(source.removeprefix("urn:uuid:")) for source in sources]
    assert first != second
    assert all(source.startswith("urn:uuid:") for source in sources)


async def test_the_source_outlives_a_way_back_and_forth(database: Database, database_url: str) -> None:
    before = await source_of(database)

    await migrate(database_url, to=_BEFORE, force=True)
    await migrate(database_url, force=True)

    assert await source_of(database) == before


async def test_a_source_that_an_operator_sets_wins_without_a_query() -> None:
    async with open_database("postgresql://isoline@127.0.0.1:1/isoline") as away:
        assert await PostgresEventSource(away, source="https://example.org/ecg").uri() == (
            "https://example.org/ecg"
        )


async def test_a_schema_without_sources_has_the_one_of_old_until_it_is_migrated(
    database: Database, database_url: str
) -> None:
    await migrate(database_url, to=_BEFORE, force=True)
    await execute(database, "DROP TABLE installation")
    event_source = PostgresEventSource(database)

    before = await event_source.uri()
    await migrate(database_url, force=True)

    assert before == LEGACY_SOURCE
    assert (await event_source.uri()).startswith("urn:uuid:")


async def test_it_is_read_once_and_again_after_a_reconnection(database: Database, database_url: str) -> None:
    event_source = PostgresEventSource(database)
    first = await event_source.uri()
    async with open_database(database_url) as other:
        await execute(other, "UPDATE installation SET source = 'urn:other'")
        known = await event_source.uri()
        await execute(other, _END_OTHERS)
        with suppress(UnavailableError):  # the first query after a failover may fail
            await execute(database, "SELECT 1")
        await execute(database, "SELECT 1")

    assert known == first
    assert await event_source.uri() == "urn:other"


async def test_without_a_source_no_event_can_be_made_and_readiness_says_so(database: Database) -> None:
    await execute(database, "DELETE FROM installation")

    for check in (PostgresEventSource(database).uri(), check_erasures(database), check_results(database)):
        with pytest.raises(UnavailableError, match="`installation` has no row"):
            await check


async def test_there_is_one_source_and_no_second(database: Database) -> None:
    await execute(database, "INSERT INTO installation (source) VALUES ('x') ON CONFLICT DO NOTHING")

    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM installation") == 1
