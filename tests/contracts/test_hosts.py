"""A URL of several hosts: the first that takes writes is used, whatever has become of the others."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from shared.domain.errors import ConfigurationError, UnavailableError
from shared.storage.pool.database import open_database
from shared.storage.schema.migrations import migrate
from tests.programs.faults.installation.proxy import open_proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractContextManager

    from shared.storage.pool.database import Database
    from tests.programs.faults.installation.proxy import Streams

_LIMIT_S: Final = 20
_ALTER: Final = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I {}', current_database()); END $$"

Other: TypeAlias = "Callable[[], AbstractContextManager[str]]"


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[str]:
    """The host and port of a way to the server."""

    async def connect() -> Streams:
        parts = urlsplit(database_url)
        if parts.hostname:
            return await asyncio.open_connection(parts.hostname, parts.port)
        return await asyncio.open_unix_connection(f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432")

    async with open_proxy(connect) as proxy:
        yield f"127.0.0.1:{proxy.port}"


@contextmanager
def a_dead_host() -> Iterator[str]:
    """A host that refuses."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def a_silent_host() -> Iterator[str]:
    """A host that accepts connections and never answers, like one behind a firewall that drops packets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def a_closing_host() -> Iterator[str]:
    """A host that accepts connections and closes them, like a balancer whose server is away."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        closing = threading.Thread(target=_close_each, args=(listener,), daemon=True)
        closing.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        closing.join()


def _close_each(listener: socket.socket) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            connection.recv(65536)  # with bytes unread it would be a reset
            connection.close()


def url_of(database_url: str, *hosts: str, query: str = "") -> str:
    parts = urlsplit(database_url)
    login = parts.netloc.rpartition("@")[0]
    return f"postgresql://{login}@{','.join(hosts)}{parts.path}{query}"


@pytest.mark.parametrize("other", [a_dead_host, a_silent_host, a_closing_host])
@pytest.mark.parametrize("query", ["", "?target_session_attrs=read-write&sslmode=disable"])
async def test_the_host_that_answers_is_used_and_asked_first_from_then_on(
    database_url: str, live: str, other: Other, query: str
) -> None:
    with other() as gone:
        url = url_of(database_url, gone, live, query=query)
        async with asyncio.timeout(_LIMIT_S), open_database(url) as database:
            async with database.connection() as connection:
                assert await connection.fetchval("SELECT 1") == 1
            async with (
                asyncio.timeout(2),  # less than the limit for a host that does not answer
                database.connection() as first,
                database.connection() as second,
            ):
                assert await first.fetchval("SELECT 2") + await second.fetchval("SELECT 3") == 5


async def test_a_schema_is_migrated_at_the_host_that_answers(database_url: str, live: str) -> None:
    with a_dead_host() as gone:
        async with asyncio.timeout(_LIMIT_S):
            assert await migrate(url_of(database_url, gone, live)) == await migrate(database_url)


async def test_a_host_that_takes_no_writes_is_none_until_it_does(database_url: str, live: str) -> None:
    operator = await asyncpg.connect(database_url, timeout=_LIMIT_S)
    with a_dead_host() as gone:
        async with asyncio.timeout(_LIMIT_S), open_database(url_of(database_url, gone, live)) as database:
            await operator.execute(_ALTER.format("SET default_transaction_read_only = on"))
            with pytest.raises(UnavailableError) as caught:
                await _ask(database)
            await operator.execute(_ALTER.format("RESET default_transaction_read_only"))

            assert await _ask(database) == 1
    await operator.close()
    assert f"{gone}: " in str(caught.value)
    assert f"{live}: it is not what target_session_attrs of the URL asks for" in str(caught.value)


async def test_the_only_host_is_named_as_other_than_the_url_asks_for(database_url: str, live: str) -> None:
    url = url_of(database_url, live, query="?target_session_attrs=standby")
    async with asyncio.timeout(_LIMIT_S), open_database(url) as database:
        with pytest.raises(UnavailableError, match="not what target_session_attrs of the URL asks") as caught:
            await _ask(database)

    assert caught.value.needs_operator


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("PGPORT", "PGPORT beside it: invalid literal for int"),
        ("PGTARGETSESSIONATTRS", "PGTARGETSESSIONATTRS, is none of any, primary"),
        ("PGSSLMODE", "sslmode"),
    ],
)
async def test_a_variable_of_libpq_that_is_invalid_is_a_wrong_setting(
    database_url: str, live: str, monkeypatch: pytest.MonkeyPatch, variable: str, said: str
) -> None:
    monkeypatch.setenv(variable, "bogus")
    url = url_of(database_url, live)

    with pytest.raises(ConfigurationError, match=said):
        await migrate(url)
    with pytest.raises(ConfigurationError, match=said):
        async with open_database(url) as database:
            await _ask(database)


async def _ask(database: Database) -> object:
    async with database.connection() as connection:
        return await connection.fetchval("SELECT 1")
