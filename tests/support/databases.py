"""A private server, and a database of its own for each test, copied in a few milliseconds."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from isoline.embedded.postgres_server import open_postgres_server
from shared.storage.schema.migrations import migrate
from tests.support.servers.folders import server_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

# No test outlives its server, so that nothing has to reach the disk.
_FAST: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@asynccontextmanager
async def open_private_postgres(options: Mapping[str, str] = _FAST) -> AsyncIterator[str]:
    """Yield the URL of a PostgreSQL whose data are removed afterwards."""
    with server_folder() as folder:
        async with open_postgres_server(folder / "postgres", options) as server:
            yield server.url


@asynccontextmanager
async def open_template(server_url: str) -> AsyncIterator[str]:
    """Yield the name of a migrated database without connections, to be copied."""
    async with open_empty_database(server_url) as url:
        await migrate(url)
        yield _name(url)


@asynccontextmanager
async def open_empty_database(server_url: str, *, template: str = "template0") -> AsyncIterator[str]:
    """Yield the URL of a new database on a server; it is dropped afterwards, even with connections."""
    name = f"isoline_test_{secrets.token_hex(6)}"
    await _execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    try:
        yield urlunsplit(urlsplit(server_url)._replace(path=f"/{name}"))
    finally:
        await _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@asynccontextmanager
async def open_connection(url: str, name: str = "psql") -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(url, timeout=10, server_settings={"application_name": name})
    try:
        yield connection
    finally:
        await connection.close()


def _name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
