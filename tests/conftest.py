"""Servers that every test may share."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import aio_pika
import pytest
import uvloop

from shared.broker.topology import Topology
from shared.storage.pool.database import open_database
from tests.support.databases import open_empty_database, open_private_postgres, open_template
from tests.support.servers.folders import server_folder
from tests.support.servers.rabbitmq_server import open_rabbitmq_server

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable

    from shared.storage.pool.database import Database


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run tests on the event loop of the services: its transports have other insides than asyncio's."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
async def postgres_url() -> AsyncIterator[str]:
    """A PostgreSQL that nobody stops: the one that ISOLINE_TEST_DATABASE_URL names, or a private server."""
    if url := os.environ.get("ISOLINE_TEST_DATABASE_URL"):
        yield url
        return
    async with open_private_postgres() as url:
        yield url


@pytest.fixture(scope="session")
async def template_database(postgres_url: str) -> AsyncIterator[str]:
    """The name of a migrated database to copy: ISOLINE_TEST_TEMPLATE, or one of this session's own."""
    if name := os.environ.get("ISOLINE_TEST_TEMPLATE"):
        yield name
        return
    async with open_template(postgres_url) as name:
        yield name


@pytest.fixture
async def database_url(postgres_url: str, template_database: str) -> AsyncIterator[str]:
    """A migrated database of this test's own."""
    async with open_empty_database(postgres_url, template=template_database) as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool on this test's own database."""
    async with open_database(database_url) as database:
        yield database


@pytest.fixture(scope="session")
async def amqp_url() -> AsyncIterator[str]:
    """A RabbitMQ that nobody stops: the one that ISOLINE_TEST_AMQP_URL names, or a private node."""
    if url := os.environ.get("ISOLINE_TEST_AMQP_URL"):
        yield url
        return
    with server_folder() as folder:
        async with open_rabbitmq_server(folder) as server:
            yield server.amqp_url


@pytest.fixture
async def topology(amqp_url: str) -> AsyncIterator[Topology]:
    """Names of this test's own; what they name is deleted afterwards."""
    topology = Topology(namespace=f"test-{secrets.token_hex(4)}-")
    yield topology
    async with await aio_pika.connect(amqp_url, timeout=10) as connection:
        channel = await connection.channel()
        for queue in (topology.submitted_queue, topology.dead_letter_queue):
            await channel.queue_delete(queue)
        for exchange in (topology.exchange, topology.dead_letter_exchange):
            await channel.exchange_delete(exchange)
