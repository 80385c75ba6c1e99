"""PgBouncer in transaction mode in front of PostgreSQL: no statement relies on the session of another."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import asyncpg
import pytest

from shared.domain.errors import ConfigurationError, ConflictError, UnavailableError
from shared.storage.pool.database import SESSION, open_database
from shared.storage.schema.compatibility import check_schema, connection_name
from shared.storage.schema.migrations import migrate
from tests.support.databases import open_connection, open_empty_database
from tests.support.servers.folders import server_folder
from tests.support.servers.pgbouncer import open_pgbouncer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.storage.pool.database import Database
    from tests.support.servers.pgbouncer import PgbouncerServer

_LIMIT_S: Final = 30
_SETTINGS: Final = "SELECT name, setting FROM pg_settings WHERE name = ANY($1)"
_CREATE: Final = "CREATE TABLE kept (x int PRIMARY KEY)"
_INSERT: Final = "INSERT INTO kept VALUES (1)"
_ADVISORY_LOCKS: Final = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
_IGNORED: Final = {"ignore_startup_parameters": ",".join(SESSION)}


@asynccontextmanager
async def pgbouncer_of(database_url: str, **settings: object) -> AsyncIterator[PgbouncerServer]:
    with server_folder() as folder:
        async with open_pgbouncer(folder, database_url, **settings) as pgbouncer:
            yield pgbouncer


@pytest.fixture(params=[{}, _IGNORED], ids=["that_refuses_settings", "that_ignores_settings"])
async def pgbouncer(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[PgbouncerServer]:
    async with asyncio.timeout(_LIMIT_S), pgbouncer_of(database_url, **request.param) as running:
        yield running


@pytest.fixture
async def pooled(pgbouncer: PgbouncerServer) -> AsyncIterator[Database]:
    """More connections than PgBouncer has sessions."""
    async with open_database(pgbouncer.url, max_connections=8, name=connection_name("gateway")) as database:
        yield database


async def test_each_statement_has_our_settings_and_leaves_none_behind(
    pooled: Database, pgbouncer: PgbouncerServer
) -> None:
    async def settings(limit_s: float) -> dict[str, str]:
        async with pooled.connection() as connection:
            await connection.execute("SELECT pg_sleep($1)", limit_s)
            return {row["name"]: row["setting"] for row in await connection.fetch(_SETTINGS, [*SESSION])}

    found = await asyncio.gather(*(settings(0.01) for _ in range(30)))

    assert found == [SESSION] * 30
    for _ in range(3):
        async with _plain(pgbouncer.url) as other:
            assert await other.fetchval("SHOW plan_cache_mode") == "auto"


async def test_many_clients_run_many_statements_beside_each_other(
    pooled: Database, pgbouncer: PgbouncerServer
) -> None:
    async def ask(database: Database, number: int) -> int:
        async with database.connection() as connection:
            value: int = await connection.fetchval(f"SELECT $1::int + {number}", number)
            return value

    async with open_database(pgbouncer.url, max_connections=8) as other:
        found = await asyncio.gather(
            *(ask(database, number) for number in range(200) for database in (pooled, other))
        )

    assert found == [2 * number for number in range(200) for _ in range(2)]


async def test_a_transaction_that_fails_writes_nothing_and_the_next_one_works(pooled: Database) -> None:
    await _execute(pooled, _CREATE)
    for failing in (_INSERT, "SELECT 1 / 0"):
        with pytest.raises(asyncpg.PostgresError):
            await _execute(pooled, _INSERT, failing)

    await _execute(pooled, _INSERT)
    async with pooled.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM kept") == 1


async def test_a_caller_that_gives_up_takes_its_transaction_with_it(pooled: Database) -> None:
    await _execute(pooled, _CREATE)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(_execute(pooled, _INSERT, "SELECT pg_sleep(60)"), 0.2)

    await _execute(pooled, _INSERT)  # no lock of the other is left


async def test_a_pooler_that_was_killed_is_used_again(pooled: Database, pgbouncer: PgbouncerServer) -> None:
    await check_schema(pooled)
    await pgbouncer.kill()
    with pytest.raises(UnavailableError):
        await check_schema(pooled)
    await pgbouncer.start()

    await check_schema(pooled)


async def test_a_process_shows_its_name_and_that_it_is_pooled(pooled: Database, database_url: str) -> None:
    async with pooled.connection(), open_connection(database_url) as other:
        names = await other.fetch("SELECT application_name FROM pg_stat_activity")

    assert connection_name("gateway").replace(" schema", " pooled schema") in {name for (name,) in names}


async def test_a_migration_through_a_pooler_is_refused_and_holds_no_lock(
    pgbouncer: PgbouncerServer, database_url: str
) -> None:
    with pytest.raises(ConfigurationError, match="the URL of PostgreSQL itself"):
        await migrate(pgbouncer.url)

    async with open_connection(database_url) as other:
        assert await other.fetchval(_ADVISORY_LOCKS) == 0


async def test_a_migration_sees_every_process_behind_one_session_of_a_pooler(
    postgres_url: str, template_database: str
) -> None:
    async with (
        asyncio.timeout(_LIMIT_S),
        open_empty_database(postgres_url, template=template_database) as url,
        pgbouncer_of(url, default_pool_size=1) as pgbouncer,
        open_database(pgbouncer.url, name="isoline gateway 9.0.0 schema=8..99") as able,
        open_database(pgbouncer.url, name="isoline processor 9.0.0 schema=10..99") as unable,
        asyncio.TaskGroup() as tasks,
    ):
        polling = [tasks.create_task(_poll(able, 0.2)), tasks.create_task(_poll(unable, 1.0))]
        await asyncio.sleep(0.1)
        with pytest.raises(ConflictError, match=r"is not for isoline processor 9\.0\.0 pooled .* RECONNECT"):
            await migrate(url, to=8)
        polling[1].cancel()
        await asyncio.sleep(0.3)
        assert await migrate(url, to=9) == "0009_compatibility"
        polling[0].cancel()


async def _execute(database: Database, *statements: str) -> None:
    async with database.connection() as connection:
        for statement in statements:
            await connection.execute(statement)


async def _poll(database: Database, interval_s: float) -> None:
    while True:
        async with database.connection() as connection:
            await connection.execute("SELECT 1")
        await asyncio.sleep(interval_s)


@asynccontextmanager
async def _plain(url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(url, timeout=10, statement_cache_size=0)
    try:
        yield connection
    finally:
        await connection.close()
