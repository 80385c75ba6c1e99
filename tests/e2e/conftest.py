"""An installation of real processes on real servers."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aio_pika
import pytest

from gateway.accounts.password_hashing import PasswordHashing
from gateway.accounts.use_cases import create_account
from shared.broker.rabbitmq.publisher import open_rabbitmq_publisher
from shared.domain.account import Role
from shared.events import EcgKey, processed_event
from shared.storage.postgres.accounts import PostgresAccountStore
from tests.support.builders import SOURCE
from tests.support.servers.services import free_port, open_service, stop

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

    from shared.broker.topology import Topology
    from shared.storage.pool.database import Database

ROOT: Final = Path(__file__).parents[2]
PASSWORD: Final = "a good password"
_POLL_S: Final = 0.05


class Installation:
    """An installation, to which a test adds services."""

    def __init__(self, environment: dict[str, str], logs: Path, services: AsyncExitStack) -> None:
        self.environment = environment
        self.address = ""
        self._logs = logs
        self._services = services

    async def start_gateway(self, *arguments: str) -> Process:
        """Start a gateway at ``address`` and wait until it is ready."""
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        return await self._start(
            ["gateway", *arguments], self.address, ISOLINE_HOST="127.0.0.1", ISOLINE_PORT=str(port)
        )

    async def start_processor(self, *arguments: str) -> Process:
        """Start one more processor, with ports for two workers, and wait until it is ready."""
        port = free_port(2)
        address = f"http://127.0.0.1:{port}"
        return await self._start(
            ["processor", *arguments],
            address,
            ISOLINE_HEALTH_HOST="127.0.0.1",
            ISOLINE_HEALTH_PORT=str(port),
        )

    async def begin_processor(self, **settings: str) -> tuple[Process, str]:
        """Start one more processor that may never be ready; the process and the URL of its health."""
        port = free_port()
        health = {"ISOLINE_HEALTH_HOST": "127.0.0.1", "ISOLINE_HEALTH_PORT": str(port)}
        environment = os.environ | self.environment | health | settings
        with (self._logs / f"processor-{secrets.token_hex(3)}.log").open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "processor"), stdout=output, stderr=output, env=environment
            )
        self._services.push_async_callback(stop, process)
        return process, f"http://127.0.0.1:{port}"

    async def _start(self, command: list[str], address: str, **settings: str) -> Process:
        log = self._logs / f"{command[0]}-{secrets.token_hex(3)}.log"
        return await self._services.enter_async_context(
            open_service(["-m", *command], address=address, environment=self.environment | settings, log=log)
        )

    def records(self, service: str) -> list[dict[str, Any]]:
        """The log records of all processes of a service."""
        logs = self._logs.glob(f"{service}-*.log")
        return [json.loads(line) for log in logs for line in log.read_text().splitlines()]


@pytest.fixture
async def installation(
    database: Database, database_url: str, amqp_url: str, topology: Topology, tmp_path: Path
) -> AsyncIterator[Installation]:
    """A migrated database with the account ada, an empty broker, and no service yet."""
    await create_account(
        "ada", PASSWORD, [Role.USER], accounts=PostgresAccountStore(database), passwords=PasswordHashing()
    )
    environment = {
        "ISOLINE_DATABASE_URL": database_url,
        "ISOLINE_AMQP_URL": amqp_url,
        "ISOLINE_AMQP_NAMESPACE": topology.namespace,
        "ISOLINE_TOKEN_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "PYTHONPATH": str(ROOT),
    }
    async with AsyncExitStack() as services:
        yield Installation(environment, tmp_path, services)


class Subscriber:
    """The example subscriber as a process, and its output."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.events: list[dict[str, Any]] = []

    async def receive(self, count: int) -> None:
        """Read until it has printed so many events."""
        assert self._process.stdout
        while len(self.events) < count:
            self.events.append(json.loads(await self._process.stdout.readline()))


@pytest.fixture
async def subscriber(
    installation: Installation, amqp_url: str, topology: Topology
) -> AsyncIterator[Subscriber]:
    """The example subscriber, bound to the exchange; its queue is deleted afterwards."""
    await _declare(amqp_url, topology)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        ROOT / "examples" / "subscriber.py",
        amqp_url,
        stdout=asyncio.subprocess.PIPE,
        limit=2**20,
        env=os.environ | installation.environment,
    )
    subscriber = Subscriber(process)
    try:
        async with asyncio.timeout(20):
            await _until_bound(amqp_url, topology)
            await subscriber.receive(1)
        subscriber.events.clear()
        yield subscriber
    finally:
        await stop(process)
        async with await aio_pika.connect(amqp_url) as connection:
            channel = await connection.channel()
            await channel.queue_delete(f"{topology.namespace}sub.example.processed")


async def _declare(amqp_url: str, topology: Topology) -> None:
    """Declare the exchange as the first service does; a subscriber may not."""
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.declare_exchange(topology.exchange, aio_pika.ExchangeType.TOPIC, durable=True)


async def _until_bound(amqp_url: str, topology: Topology) -> None:
    """Publish an event of no ECG until the broker finds a queue for it."""
    probe = processed_event(
        EcgKey("nobody", "probe"), {}, source=SOURCE, now=datetime.now(UTC), traceparent=None
    )
    async with open_rabbitmq_publisher(amqp_url, topology=topology) as publisher:
        while await publisher.publish([probe]) != [None]:
            await asyncio.sleep(_POLL_S)
