"""A pipeline, whoever's, as the benchmark sees it: where to send, what became of it, its processes."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from gateway.accounts.password_hashing import PasswordHashing
from gateway.accounts.use_cases import create_account
from gateway.auth.access_tokens import AccessTokens
from shared.broker.topology import Topology
from shared.domain.account import Role
from shared.events import EventType
from shared.storage.pool.database import open_database
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.schema.migrations import migrate
from tests.programs.benchmarks.baselines import textbook
from tests.programs.benchmarks.load.subscriber import subscribe
from tests.support.servers.services import free_port, open_service

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from tests.programs.benchmarks.servers import Servers

OWNER: Final = "ada"
PASSWORD: Final = "a good password"
TOKEN_KEY: Final = base64.b64encode(secrets.token_bytes(32)).decode()
PATH: Final = "/ecg/process"

_ROOT: Final = Path(__file__).parents[3]
_POLL_S: Final = 0.05

_NEWEST: Final = "SELECT coalesce(max(row), 0) FROM ecg"
_ANY_OPEN: Final = "SELECT EXISTS (SELECT FROM ecg WHERE row > $1 AND status = 'queued')"
_COUNT_DONE: Final = "SELECT count(*) FROM ecg WHERE row > $1 AND status = 'completed'"
_COUNT_FAILED: Final = "SELECT count(*) FROM ecg WHERE row > $1 AND status NOT IN ('queued', 'completed')"

# Everything is as an operator gets it by default, logs included, but for the rates: one client is all.
_SETTINGS: Final[Mapping[str, str]] = {
    "ISOLINE_RATE_PER_CALLER": "1000000000",
    "ISOLINE_RATE_PER_ADDRESS": "1000000000",
}
# For recordings of hours in JSON.
ROOMY: Final[Mapping[str, str]] = {
    "ISOLINE_MAX_BODY_BYTES": str(128 * 2**20),
    "ISOLINE_MAX_BYTES_IN_FLIGHT": str(1024 * 2**20),
    "ISOLINE_MAX_LEAD_SAMPLES": "20000000",
    "ISOLINE_MAX_ECG_SAMPLES": "20000000",
}


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A running gateway and a running processor on a database of their own."""

    address: str
    database_url: str
    processes: Mapping[str, int]

    async def newest(self) -> int:
        """The row of the last ECG so far."""
        newest: int = await self.query(_NEWEST)
        return newest

    async def until_done(self, after: int, *, within_s: float) -> tuple[int, float]:
        """Wait until every ECG after a row is terminal, or for so long: how many are, and when that was.

        Raises:
            RuntimeError: Some failed.
        """
        connection = await asyncpg.connect(self.database_url, timeout=10)
        try:
            deadline_s = time.monotonic() + within_s
            while await connection.fetchval(_ANY_OPEN, after) and time.monotonic() < deadline_s:
                await asyncio.sleep(_POLL_S)
            ended_s = time.monotonic()
            done, failed = [await connection.fetchval(sql, after) for sql in (_COUNT_DONE, _COUNT_FAILED)]
        finally:
            await connection.close(timeout=5)
        if failed:
            raise RuntimeError(f"{failed} ECGs failed")
        return done, ended_s

    def tokens(self, owners: Sequence[str] = (OWNER,)) -> list[str]:
        """A token of each owner, good for a quarter of an hour; no login stands between two measurements."""
        issuer = AccessTokens(key=TOKEN_KEY, issuer="isoline", audience="isoline", lifetime_s=900)
        return [issuer.issue(owner, [Role.USER], now=datetime.now(UTC)) for owner in owners]

    async def query(self, sql: str, *arguments: object, timeout_s: float = 60.0) -> Any:
        """A statement's first value."""
        connection = await asyncpg.connect(self.database_url, timeout=10)
        try:
            return await connection.fetchval(sql, *arguments, timeout=timeout_s)
        finally:
            await connection.close(timeout=5)


@asynccontextmanager
async def open_isoline(servers: Servers, **settings: str) -> AsyncIterator[Pipeline]:
    """Ours: ``python -m gateway`` and ``python -m processor``; their logs go to files beside the servers."""
    port, health_port = free_port(), free_port()
    environment = await prepare_isoline(servers, gateway_port=port, processor_port=health_port, **settings)
    addresses = {"gateway": f"http://127.0.0.1:{port}", "processor": f"http://127.0.0.1:{health_port}"}
    commands = {module: ["-m", module] for module in addresses}
    async with _open_pair(commands, addresses, environment, servers) as pids:
        yield Pipeline(address=addresses["gateway"], database_url=servers.database_url, processes=pids)


async def prepare_isoline(
    servers: Servers, *, gateway_port: int, processor_port: int, **settings: str
) -> dict[str, str]:
    """Make the tables, an account and a subscriber's queue; the environment of a gateway and a processor."""
    await migrate(servers.database_url)
    await _create_account(servers.database_url)
    environment = {
        "ISOLINE_DATABASE_URL": servers.database_url,
        "ISOLINE_AMQP_URL": servers.amqp_url,
        "ISOLINE_TOKEN_KEY": TOKEN_KEY,
        "ISOLINE_HOST": "127.0.0.1",
        "ISOLINE_PORT": str(gateway_port),
        "ISOLINE_HEALTH_HOST": "127.0.0.1",
        "ISOLINE_HEALTH_PORT": str(processor_port),
        "PYTHONPATH": str(_ROOT),
        **_SETTINGS,
        **{name: value for name, value in os.environ.items() if name.startswith("ISOLINE_")},
        **settings,
    }
    exchange = Topology(environment.get("ISOLINE_AMQP_NAMESPACE", "")).exchange
    await subscribe(servers.amqp_url, exchange, EventType.PROCESSED)
    return environment


@asynccontextmanager
async def open_isoline_apart(servers: Servers, name: str, **settings: str) -> AsyncIterator[Pipeline]:
    """Ours once more, on a database and in a namespace of the broker of its own."""
    own = await servers.with_database(name)
    async with open_isoline(own, ISOLINE_AMQP_NAMESPACE=f"{name}.".replace("_", "-"), **settings) as isoline:
        yield isoline


@asynccontextmanager
async def open_textbook(servers: Servers, *, prefetch: int) -> AsyncIterator[Pipeline]:
    """The textbook's, on a database and a queue that are empty."""
    database_url = (await servers.with_database("textbook")).database_url
    await _create_textbook_tables(database_url)
    addresses = {role: f"http://127.0.0.1:{free_port()}" for role in ("gateway", "processor")}
    await textbook.delete_queue(servers.amqp_url)
    await subscribe(servers.amqp_url, textbook.EXCHANGE, textbook.PROCESSED)
    module = ("-m", "tests.programs.benchmarks.baselines.textbook")
    commands = {
        role: [*module, role, address.rpartition(":")[2], database_url, servers.amqp_url, str(prefetch)]
        for role, address in addresses.items()
    }
    async with _open_pair(commands, addresses, {"PYTHONPATH": str(_ROOT)}, servers) as pids:
        yield Pipeline(address=addresses["gateway"], database_url=database_url, processes=pids)


@asynccontextmanager
async def _open_pair(
    commands: Mapping[str, list[str]],
    addresses: Mapping[str, str],
    environment: Mapping[str, str],
    servers: Servers,
) -> AsyncIterator[dict[str, int]]:
    def opened(role: str) -> AbstractAsyncContextManager[Process]:
        log = servers.folder / f"{role}.log"
        return open_service(commands[role], address=addresses[role], environment=environment, log=log)

    async with opened("gateway") as gateway, opened("processor") as processor:
        yield {"gateway": gateway.pid, "processor": processor.pid, **servers.pids}


async def _create_account(url: str) -> None:
    async with open_database(url) as database:
        accounts = PostgresAccountStore(database)
        if await accounts.find(OWNER) is None:
            await create_account(OWNER, PASSWORD, [Role.USER], accounts=accounts, passwords=PasswordHashing())


async def _create_textbook_tables(url: str) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute(textbook.TABLE)
    finally:
        await connection.close(timeout=5)
