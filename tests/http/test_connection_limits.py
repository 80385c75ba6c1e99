"""Requests while PostgreSQL, or a PgBouncer in front of it, has no connection left."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import asyncpg
import pytest

from isoline.embedded.postgres_server import open_postgres_server
from shared.runtime.health import HealthPart
from shared.storage.pool.database import open_database
from shared.storage.postgres.checks import check_submissions
from shared.storage.schema.migrations import migrate
from tests.http.conftest import open_client, open_test_gateway, problem_of
from tests.http.ecg_requests import submit
from tests.http.test_health import readiness
from tests.support.builders import an_ecg_body
from tests.support.servers.folders import server_folder
from tests.support.servers.pgbouncer import open_pgbouncer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from shared.broker.in_process import InProcessBroker

_CONNECTIONS: Final = 8
_SERVER: Final = {
    "fsync": "off",
    "max_connections": str(_CONNECTIONS),
    "superuser_reserved_connections": "0",
    "reserved_connections": "0",
    "max_wal_senders": "0",
}

# The URL for a gateway, and how to give back the connections that others have.
Limited: TypeAlias = "tuple[str, Callable[[], Awaitable[None]]]"


@pytest.fixture
async def own_server() -> AsyncIterator[str]:
    """A migrated database on a server with few connections."""
    with server_folder() as folder:
        async with open_postgres_server(folder / "postgres", _SERVER) as server:
            await migrate(server.url)
            yield server.url


@asynccontextmanager
async def a_server_without_connections(url: str) -> AsyncIterator[Limited]:
    async with AsyncExitStack() as others:
        for _ in range(_CONNECTIONS):
            await _hold(others, url)
        yield url, others.aclose


@asynccontextmanager
async def a_pooler_of_a_server_without_connections(url: str) -> AsyncIterator[Limited]:
    with server_folder() as folder:
        async with open_pgbouncer(folder, url) as pgbouncer, a_server_without_connections(url) as limited:
            yield pgbouncer.url, limited[1]


@asynccontextmanager
async def a_pooler_without_connections(url: str) -> AsyncIterator[Limited]:
    with server_folder() as folder:
        async with open_pgbouncer(folder, url, max_client_conn=2) as pgbouncer, AsyncExitStack() as others:
            await _hold(others, pgbouncer.url)
            await _hold(others, pgbouncer.url)
            yield pgbouncer.url, others.aclose


@asynccontextmanager
async def a_pooler_without_sessions(url: str) -> AsyncIterator[Limited]:
    with server_folder() as folder:
        async with (
            open_pgbouncer(folder, url, default_pool_size=1, query_wait_timeout=1) as pgbouncer,
            AsyncExitStack() as others,
        ):
            other = await _hold(others, pgbouncer.url)
            await other.execute("BEGIN")
            yield pgbouncer.url, others.aclose


@pytest.mark.parametrize(
    ("limited", "reason"),
    [
        (a_server_without_connections, "sorry, too many clients already (53300)"),
        (a_pooler_of_a_server_without_connections, "sorry, too many clients already (08P01)"),
        (a_pooler_without_connections, "no more connections allowed (max_client_conn) (08P01)"),
        (a_pooler_without_sessions, "query_wait_timeout (08"),
    ],
)
async def test_without_a_connection_a_request_is_a_503_and_readiness_says_why_until_there_is_one(
    own_server: str,
    broker: InProcessBroker,
    limited: Callable[[str], AbstractAsyncContextManager[Limited]],
    reason: str,
) -> None:
    async with (
        asyncio.timeout(30),
        limited(own_server) as (url, give_back),
        open_database(url, max_connections=2) as database,
        open_test_gateway(
            database,
            broker.publisher(),
            health_parts={
                "submissions": HealthPart(check=partial(check_submissions, database), impact="None.")
            },
        ) as gateway,
        open_client(gateway, "ada") as ada,
    ):
        async with ada.post("/ecg/process", json=an_ecg_body()) as refused:
            await problem_of(refused, 503)
        unready = await readiness(ada, 503)
        await give_back()
        await readiness(ada, 200)
        status, _ = await submit(ada, an_ecg_body())

    assert refused.headers["Retry-After"].isdigit()
    assert reason in unready["reasons"]["submissions"]
    assert status == 202


async def _hold(others: AsyncExitStack, url: str) -> asyncpg.Connection[asyncpg.Record]:
    """A connection of another client."""
    other: asyncpg.Connection[asyncpg.Record] = await asyncpg.connect(url, timeout=10, statement_cache_size=0)
    others.push_async_callback(other.close)
    return other
