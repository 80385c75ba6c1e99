"""A real gateway and processor on a real database, in this process, on a free port."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import aiohttp
import pytest

from gateway.accounts import Passwords, create_account
from gateway.app import open_gateway
from processor.worker import run_processor
from shared.broker.in_process import InProcessBroker
from shared.domain.account import Role
from shared.events import EventType
from shared.process import check_staying
from shared.settings import GatewayOnlySettings, ProcessorOnlySettings
from shared.storage.postgres_accounts import PostgresAccountStore
from shared.storage.postgres_ecgs import PostgresEcgStore
from shared.storage.postgres_outbox import PostgresOutbox
from shared.storage.schema import check_schema

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.storage.postgres import Database

TOKEN_KEY: Final = base64.b64encode(bytes(range(32))).decode()
PASSWORD: Final = "a good password"
QUEUE: Final = "processor.ecg-submitted"

_ACCOUNTS: Final = {"ada": [Role.USER], "bob": [Role.USER], "root": [Role.ADMIN], "both": list(Role)}


@pytest.fixture
def broker() -> InProcessBroker:
    broker = InProcessBroker()
    broker.bind(QUEUE, EventType.SUBMITTED)
    return broker


@pytest.fixture
async def gateway(database: Database, broker: InProcessBroker) -> AsyncIterator[str]:
    """The address of a gateway with accounts ada and bob (user), root (admin) and both; nobody processes."""
    accounts, passwords = PostgresAccountStore(database), Passwords()
    for name, roles in _ACCOUNTS.items():
        await create_account(name, PASSWORD, roles, accounts=accounts, passwords=passwords)
    async with open_gateway(
        GatewayOnlySettings(host="127.0.0.1", port=0),
        token_key=TOKEN_KEY,
        store=PostgresEcgStore(database),
        accounts=accounts,
        publisher=broker.publisher(),
        checks={
            "process": partial(check_staying, asyncio.Event()),
            "schema": partial(check_schema, database),
        },
    ) as address:
        yield address


@pytest.fixture
async def processor(database: Database, broker: InProcessBroker) -> AsyncIterator[None]:
    """A processor beside the gateway."""
    told_to_leave = asyncio.Event()
    async with asyncio.TaskGroup() as tasks, broker.consumer(QUEUE, prefetch=16) as consumer:
        tasks.create_task(
            run_processor(
                ProcessorOnlySettings(),
                store=PostgresEcgStore(database),
                outbox=PostgresOutbox(database),
                publisher=broker.publisher(),
                consumer=consumer,
                told_to_leave=told_to_leave,
            )
        )
        yield
        told_to_leave.set()


@asynccontextmanager
async def open_client(address: str, name: str | None = None) -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a client of the gateway, logged in as an account or as nobody."""
    async with aiohttp.ClientSession(address, timeout=aiohttp.ClientTimeout(30)) as session:
        if name is not None:
            async with session.post("/token", json={"user": name, "password": PASSWORD}) as answer:
                token = (await answer.json())["access_token"]
            session.headers["Authorization"] = f"Bearer {token}"
        yield session


@pytest.fixture
async def ada(gateway: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with open_client(gateway, "ada") as session:
        yield session


@pytest.fixture
async def nobody(gateway: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with open_client(gateway) as session:
        yield session
