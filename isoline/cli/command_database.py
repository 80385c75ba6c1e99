"""The database that a command works on: at ISOLINE_DATABASE_URL, or else that of the embedded mode."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from isoline.embedded.postgres_server import open_postgres_server
from isoline.embedded.state import read_state
from shared.runtime.settings import DatabaseSettings, EmbeddedSettings, is_set, read_settings
from shared.storage.pool.database import open_database
from shared.storage.schema.compatibility import check_schema, connection_name
from shared.storage.schema.migrations import migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from shared.storage.pool.database import Database


def is_production() -> bool:
    """Whether ISOLINE_DATABASE_URL is set."""
    return is_set(DatabaseSettings, "database_url")


@asynccontextmanager
async def open_command_database(*, is_for_operators: bool = True) -> AsyncIterator[Database]:
    """Yield it, started first if it is the embedded mode's and that is not running.

    Args:
        is_for_operators: Whether a missing privilege is one that operators have.

    Raises:
        ConfigurationError: The schema is too new for this release.
        UnavailableError: It is away, or migrations are pending.
    """
    async with (
        _open_url() as url,
        open_database(url, name=connection_name("command"), is_for_operators=is_for_operators) as database,
    ):
        await check_schema(database)
        yield database


@asynccontextmanager
async def _open_url() -> AsyncIterator[str]:
    if is_production():
        yield read_settings(DatabaseSettings).database_url.get_secret_value()
        return
    async with _embedded_url(read_settings(EmbeddedSettings).var) as url:
        yield url


@asynccontextmanager
async def _embedded_url(var: Path) -> AsyncIterator[str]:
    running = read_state(var)
    if running is not None:
        yield running.database_url
        return
    async with open_postgres_server(var / "postgres") as server:
        await migrate(server.url)
        yield server.url
