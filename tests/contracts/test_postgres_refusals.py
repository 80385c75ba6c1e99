"""Commands that PostgreSQL refuses say why in a sentence, and end with 2 where an operator must act, or 1."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from tests.e2e.conftest import ROOT
from tests.support.databases import open_empty_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_WITHIN_S: Final = 60.0
_COMMANDS: Final = (
    ("migrate",),
    ("create-admin",),
    ("user", "list"),
    ("replay", "--failed", "--why", "a test", "--yes"),
)


async def refused(url: str, *arguments: str) -> tuple[int, str]:
    """The status and all that is printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "isoline", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"ISOLINE_DATABASE_URL": url, "PYTHONPATH": str(ROOT)},
    )
    async with asyncio.timeout(_WITHIN_S):
        printed, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode()


@pytest.fixture
async def role(postgres_url: str) -> AsyncIterator[str]:
    """A role that may log in and owns nothing."""
    name = f"isoline_test_{secrets.token_hex(6)}"
    await _execute(postgres_url, f"CREATE ROLE {name} LOGIN")
    yield name
    await _execute(postgres_url, f"DROP ROLE {name}")


@pytest.mark.parametrize("arguments", _COMMANDS, ids=" ".join)
async def test_a_role_that_may_not_log_in(postgres_url: str, role: str, arguments: tuple[str, ...]) -> None:
    await _execute(postgres_url, f"ALTER ROLE {role} NOLOGIN")

    status, printed = await refused(_with(postgres_url, role=role), *arguments)

    assert printed == f'PostgreSQL: role "{role}" is not permitted to log in (28000)\n'
    assert status == 2


@pytest.mark.parametrize("arguments", _COMMANDS[:2], ids=" ".join)
async def test_a_role_without_rights(postgres_url: str, role: str, arguments: tuple[str, ...]) -> None:
    async with open_empty_database(postgres_url) as url:
        status, printed = await refused(_with(url, role=role), *arguments)

    assert printed.startswith(
        (
            "PostgreSQL: permission denied for schema public (42501)",
            "migrations are pending, run `isoline migrate`: ",
        )
    )
    assert len(printed.splitlines()) == 1
    assert status == 2


@pytest.mark.parametrize("arguments", _COMMANDS, ids=" ".join)
async def test_no_such_database(postgres_url: str, arguments: tuple[str, ...]) -> None:
    status, printed = await refused(_with(postgres_url, name="isoline_test_none"), *arguments)

    assert printed == 'PostgreSQL: database "isoline_test_none" does not exist (3D000)\n'
    assert status == 2


async def test_a_database_that_is_not_utf_8_is_not_migrated(postgres_url: str) -> None:
    name = f"isoline_test_{secrets.token_hex(6)}"
    await _execute(
        postgres_url,
        f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0",
    )
    try:
        status, printed = await refused(_with(postgres_url, name=name), "migrate")
    finally:
        await _execute(postgres_url, f"DROP DATABASE {name}")

    assert printed.startswith("the database is encoded in LATIN1 and has no place for other characters; ")
    assert len(printed.splitlines()) == 1
    assert status == 2


@pytest.mark.parametrize(
    ("url", "status", "reason"),
    [
        ("postgresql://u:canary@127.0.0.1:{port}/d", 1, "Connect call failed"),
        ("postgresql://u:canary@127.0.0.1:{port},127.0.0.1:{port}/d", 1, "127.0.0.1:{port}: "),
        ("postgresql://u:canary@isoline.invalid/d", 2, "the host's name: "),
        ("postgresql://u:canary@127.0.0.1:{tls_port}/d?sslmode=require", 2, "rejected SSL upgrade"),
        ("postgresql://u:canary@127.0.0.1/d?sslmode=sometimes", 2, "ISOLINE_DATABASE_URL: `sslmode`"),
        ("postgresql://u:canary@/d?host=/isoline.none", 1, "a socket or certificate that the URL names"),
    ],
)
async def test_a_server_that_is_no_server_for_us(url: str, status: int, reason: str) -> None:
    async with (
        await asyncio.start_server(_refuse_tls, "127.0.0.1", 0) as no_tls,
        await asyncio.start_server(_refuse_tls, "127.0.0.1", 0) as closed,
    ):
        ports = {"port": _port(closed), "tls_port": _port(no_tls)}
        closed.close()
        ended, printed = await refused(url.format(**ports), "migrate")

    assert reason.format(**ports) in printed
    assert len(printed.splitlines()) == 1
    assert "canary" not in printed
    assert ended == status


async def _refuse_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer as a PostgreSQL without TLS does to a request for it."""
    await reader.read(8)
    writer.write(b"N")
    await reader.read()
    writer.close()


def _port(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


def _with(url: str, *, role: str = "", name: str = "") -> str:
    parts = urlsplit(url)
    if role:
        parts = parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}")
    return urlunsplit(parts._replace(path=f"/{name}") if name else parts)


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
