"""Connections to PostgreSQL: kept from caller to caller, bounded in number, replaced when they are lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest

from shared.domain.errors import UnavailableError
from shared.storage.pool import database as postgres
from shared.storage.pool.database import open_database
from tests.support.polling import until

if TYPE_CHECKING:
    from shared.storage.pool.database import Database

_LIMIT_S = 20
_PID = "SELECT pg_backend_pid()"
_SLEEPING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND query = 'SELECT pg_sleep(60)' AND state = 'active'
"""


async def ask(database: Database, statement: str = _PID) -> object:
    async with database.connection() as connection:
        return await connection.fetchval(statement)


async def test_successive_callers_have_the_same_connection(database: Database) -> None:
    assert len({await ask(database) for _ in range(5)}) == 1


async def test_more_callers_than_connections_are_all_served(database_url: str) -> None:
    async with asyncio.timeout(_LIMIT_S), open_database(database_url, max_connections=2) as database:
        asked = await asyncio.gather(*(ask(database, f"{_PID} FROM pg_sleep(0.01)") for _ in range(30)))

    assert len(set(asked)) == 2


async def test_a_cancelled_statement_leaves_nothing_behind(database_url: str, database: Database) -> None:
    async with asyncio.timeout(_LIMIT_S), open_database(database_url, max_connections=1) as narrow:
        asking = asyncio.create_task(ask(narrow, "SELECT pg_sleep(60)"))
        await until(lambda: ask(database, _SLEEPING))
        asking.cancel()
        await asyncio.wait([asking])

        assert await ask(narrow, "SELECT 1") == 1


async def test_a_transaction_that_fails_is_undone(database_url: str) -> None:
    async with open_database(database_url, max_connections=1) as database:
        with pytest.raises(ZeroDivisionError):
            await _fail_within_a_transaction(database)

        assert await ask(database, "SELECT to_regclass('scratch')") is None


async def test_a_connection_that_was_lost_while_idle_is_replaced(
    database: Database, database_url: str
) -> None:
    lost = await ask(database)
    other = await asyncpg.connect(database_url, timeout=10)
    await other.execute("SELECT pg_terminate_backend($1, 5000)", lost)
    await other.close()

    async with asyncio.timeout(_LIMIT_S):
        while (found := await _asked_or_none(database)) in {None, lost}:
            await asyncio.sleep(0.01)

    assert isinstance(found, int)


async def test_a_connection_that_stays_idle_goes_back_to_the_pool(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_for = 0.05
    async with asyncio.timeout(_LIMIT_S), open_database(database_url) as database:
        many = await asyncio.gather(*(ask(database, f"{_PID} FROM pg_sleep(0.05)") for _ in range(4)))
        monkeypatch.setattr(postgres, "KEEP_IDLE_S", kept_for)
        await ask(database, f"SELECT pg_sleep({2 * kept_for})")  # the other three are not used meanwhile

        assert len(set(many)) == 4
        assert len(database._idle) == 1


async def test_closing_does_not_wait_for_idle_connections(database_url: str) -> None:
    async with asyncio.timeout(2), open_database(database_url) as database:  # it would be cut off after 5 s
        await asyncio.gather(*(ask(database, "SELECT pg_sleep(0.05)") for _ in range(4)))


async def _fail_within_a_transaction(database: Database) -> None:
    async with database.connection() as connection, connection.transaction():
        await connection.execute("CREATE TABLE scratch ()")
        raise ZeroDivisionError


async def _asked_or_none(database: Database) -> object:
    """Which connection answered; None while the loss was not noticed yet."""
    try:
        return await ask(database)
    except UnavailableError:
        return None
