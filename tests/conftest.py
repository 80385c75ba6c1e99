"""Servers that every test may share."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import aio_pika
import pytest

from shared.broker.topology import Topology
from tests.servers.rabbitmq_server import open_rabbitmq_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(scope="session")
async def amqp_url() -> AsyncIterator[str]:
    """A RabbitMQ that nobody stops: the one that ISOLINE_TEST_AMQP_URL names, or a private node."""
    if url := os.environ.get("ISOLINE_TEST_AMQP_URL"):
        yield url
        return
    # Not below pytest's own folder, which only its user can reach.
    with tempfile.TemporaryDirectory(prefix="isoline-test-", dir="/tmp") as folder:
        async with open_rabbitmq_server(Path(folder)) as server:
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
