"""A real gateway and processor on a real database, in this process, on a free port."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import time
from contextlib import asynccontextmanager, nullcontext
from datetime import UTC, datetime
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import aiohttp
import pytest
from argon2 import PasswordHasher

from gateway.__main__ import ops_ports, ports_on_postgres
from gateway.app import open_gateway
from gateway.auth.access_tokens import AccessTokens
from processor.deliveries.circuit_breaker import CircuitBreaker
from processor.insights.zero_crossings import ZERO_CROSSINGS
from processor.worker import run_processor
from shared.broker.in_process import InProcessBroker
from shared.domain.account import Account, Role
from shared.events import EventType
from shared.ports.accounts import AccountChanges
from shared.ports.claim_ids import ClaimIds, new_process_id
from shared.runtime.health import HealthPart
from shared.runtime.settings import GatewayOnlySettings, ProcessorOnlySettings
from shared.storage.pool.database import open_database
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.postgres.api_keys import PostgresApiKeyStore
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.event_source import PostgresEventSource
from shared.storage.postgres.logins import PostgresLoginStore
from shared.storage.postgres.operators.backlog import PostgresBacklogReader
from shared.storage.postgres.outbox import PostgresOutbox
from shared.storage.postgres.webhooks.subscriptions import PostgresWebhookStore
from shared.storage.schema.compatibility import check_schema

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from shared.ports.accounts import AccountStore
    from shared.ports.broker import Publisher
    from shared.storage.pool.database import Database

TOKEN_KEY: Final = base64.b64encode(bytes(range(32))).decode()
PASSWORD: Final = "a good password"
QUEUE: Final = "processor.ecg-submitted"
TOKENS: Final = AccessTokens(key=TOKEN_KEY, issuer="isoline", audience="isoline", lifetime_s=900)
ROLES: Final[dict[str, list[Role]]] = {
    "ada": [Role.USER],
    "bob": [Role.USER],
    "root": [Role.ADMIN],
    "both": list(Role),
}
# They have no account here: a token does without.
OPERATORS: Final[dict[str, list[Role]]] = {"olga": [Role.OPERATOR], "otto": [Role.OBSERVER]}


class UnchangedAccounts(PostgresAccountStore):
    """Accounts without changes, for a gateway without a database."""

    async def recent_changes(self) -> AccountChanges:
        return AccountChanges({}, time.time())


def health_part_of_schema(database: Database) -> HealthPart:
    """The health part that every gateway has."""
    return HealthPart(check=partial(check_schema, database), impact="Nothing works.")


@asynccontextmanager
async def open_test_gateway(
    database: Database,
    publisher: Publisher,
    *,
    settings: GatewayOnlySettings | None = None,
    accounts: AccountStore | None = None,
    health_parts: Mapping[str, HealthPart] | None = None,
    broker: InProcessBroker | None = None,
) -> AsyncIterator[str]:
    """Yield the address of a gateway on a free port; it stops without draining."""
    settings = settings or GatewayOnlySettings(host="127.0.0.1", port=0)
    letters = (broker or _bound_broker()).operators_letters(QUEUE)
    async with open_gateway(
        settings.model_copy(update={"drain_s": 0}),
        token_key=TOKEN_KEY,
        ecgs=ports_on_postgres(database, publisher),
        accounts=accounts or PostgresAccountStore(database),
        logins=PostgresLoginStore(database),
        api_keys=PostgresApiKeyStore(database),
        webhooks=PostgresWebhookStore(database),
        backlog=PostgresBacklogReader(database),
        ops=ops_ports(database, letters, lambda: nullcontext(letters)),
        health_parts=health_parts or {},
        operations_port=0,
    ) as address:
        yield address


@asynccontextmanager
async def open_test_processor(database: Database, broker: InProcessBroker) -> AsyncIterator[None]:
    """A processor that counts zero crossings for as long as the context is open."""
    stop_requested = asyncio.Event()
    async with asyncio.TaskGroup() as tasks, broker.consumer(QUEUE, prefetch=16) as consumer:
        tasks.create_task(
            run_processor(
                ProcessorOnlySettings(),
                insights=[ZERO_CROSSINGS],
                store=PostgresEcgStore(database),
                outbox=PostgresOutbox(database),
                publisher=broker.publisher(),
                event_source=PostgresEventSource(database),
                consumer=consumer,
                breaker=CircuitBreaker(),
                claim_ids=ClaimIds(new_process_id()),
                stop_requested=stop_requested,
            )
        )
        yield
        stop_requested.set()


@asynccontextmanager
async def open_client(address: str, name: str | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a client of the gateway with a token of an account's, or without one."""
    headers = {}
    if name is not None:
        headers["Authorization"] = (
            f"Bearer {TOKENS.issue(name, (ROLES | OPERATORS)[name], now=datetime.now(UTC))}"
        )
    async with aiohttp.ClientSession(
        address, headers=headers, timeout=aiohttp.ClientTimeout(30), auto_decompress=False
    ) as session:
        yield session


@asynccontextmanager
async def open_raw(address: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A TCP connection for arbitrary bytes."""
    parts = urlsplit(address)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def exchange(address: str, *sent: bytes, pause_s: float = 0) -> bytes:
    """Send the pieces; return all bytes until the gateway closes the connection."""
    async with asyncio.timeout(10), open_raw(address) as (reader, writer):
        for piece in sent:
            writer.write(piece)
            await asyncio.sleep(pause_s)
        return await reader.read()


async def problem_of(response: aiohttp.ClientResponse, status: int) -> dict[str, Any]:
    """The problem of a response, after checks of its format."""
    body = await response.read()
    is_compressed = response.headers.get("Content-Encoding") == "gzip"  # as of any response of 1 KiB or more
    document: dict[str, Any] = json.loads(gzip.decompress(body) if is_compressed else body)
    assert response.status == status, document
    assert response.content_type == "application/problem+json"
    assert len(response.headers["X-Request-Id"]) == 32
    assert document["type"].startswith("urn:isoline:problem:")
    assert document["title"]
    assert document["status"] == status
    assert document["detail"].endswith(".")
    assert document.keys() <= {"type", "title", "status", "detail", "errors"}
    assert ("errors" in document) == (status == 422)
    return document


@pytest.fixture
def broker() -> InProcessBroker:
    return _bound_broker()


def _bound_broker() -> InProcessBroker:
    broker = InProcessBroker()
    broker.bind(QUEUE, EventType.SUBMITTED)
    return broker


@pytest.fixture
async def gateway(database: Database, broker: InProcessBroker) -> AsyncIterator[str]:
    """The address of a gateway with accounts ada and bob (user), root (admin) and both, without processor."""
    accounts = PostgresAccountStore(database)
    for name, roles in ROLES.items():
        await accounts.add(Account(name, hash_of_password(), frozenset(roles)))
    async with open_test_gateway(
        database,
        broker.publisher(),
        health_parts={"schema": health_part_of_schema(database)},
        broker=broker,
    ) as address:
        yield address


@pytest.fixture
async def processor(database: Database, broker: InProcessBroker) -> AsyncIterator[None]:
    """A processor beside the gateway."""
    async with open_test_processor(database, broker):
        yield


@asynccontextmanager
async def open_gateway_alone(**settings: Any) -> AsyncIterator[str]:
    """The address of a gateway without database or broker, for requests refused before it needs them."""
    async with (
        open_database("postgresql://isoline@127.0.0.1:1/isoline") as database,
        open_test_gateway(
            database,
            InProcessBroker().publisher(),
            accounts=UnchangedAccounts(database),
            settings=GatewayOnlySettings(host="127.0.0.1", port=0, **settings),
        ) as address,
    ):
        yield address


@pytest.fixture(scope="module")
async def gateway_alone() -> AsyncIterator[str]:
    """The address of one with default settings.

    Not for the session: it logs once a second that it has no database, which other files' tests of log output
    would attribute to the command under test.
    """
    async with open_gateway_alone() as address:
        yield address


@pytest.fixture
async def ada(gateway: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with open_client(gateway, "ada") as session:
        yield session


@pytest.fixture
async def bob(gateway: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with open_client(gateway, "bob") as session:
        yield session


@pytest.fixture
async def root(gateway: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with open_client(gateway, "root") as session:
        yield session


@pytest.fixture
async def nobody(gateway: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with open_client(gateway) as session:
        yield session


@pytest.fixture
async def ada_alone(gateway_alone: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with open_client(gateway_alone, "ada") as session:
        yield session


@pytest.fixture
async def root_alone(gateway_alone: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with open_client(gateway_alone, "root") as session:
        yield session


@pytest.fixture
async def nobody_alone(gateway_alone: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with open_client(gateway_alone) as session:
        yield session


@cache
def hash_of_password() -> str:
    """Cached and cheap, to save each test the time of Argon2."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
