"""``isoline dlq``: dead letters by the commands of an operator."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner
from yarl import URL

from isoline.cli.app import app
from shared.broker.rabbitmq.consumer import open_rabbitmq_consumer
from shared.broker.rabbitmq.publisher import open_rabbitmq_publisher
from tests.contracts.test_rabbitmq import an_event, publish_when_possible
from tests.e2e.conftest import ROOT

if TYPE_CHECKING:
    from shared.broker.topology import Topology
    from shared.storage.pool.database import Database

_LIMIT_S = 20


@pytest.fixture(autouse=True)
async def _environment(
    amqp_url: str, topology: Topology, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOLINE_AMQP_URL", amqp_url)
    monkeypatch.setenv("ISOLINE_AMQP_NAMESPACE", topology.namespace)
    monkeypatch.setenv("ISOLINE_DATABASE_URL", database_url)


async def put_aside(amqp_url: str, topology: Topology, *bodies: bytes) -> None:
    async with (
        asyncio.timeout(_LIMIT_S),
        open_rabbitmq_publisher(amqp_url, topology=topology) as publisher,
        open_rabbitmq_consumer(amqp_url, topology=topology, prefetch=1) as consumer,
    ):
        for body in bodies:
            await publish_when_possible(publisher, an_event(body))
            [delivery] = await consumer.receive(1)
            await delivery.dead_letter()
        while len(await letters()) < len(bodies):
            await asyncio.sleep(0.05)


async def isoline(*arguments: str) -> str:
    result = await asyncio.to_thread(CliRunner().invoke, app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


async def letters() -> dict[str, str]:
    """The names of the letters that `list` shows, by the beginning of their bodies."""
    found = re.findall(r"^(\w{12})  rejected .* bytes  '(.*)'$", await isoline("dlq", "list"), re.MULTILINE)
    return {start: name for name, start in found}


async def test_looking_often_changes_neither_letters_nor_names(amqp_url: str, topology: Topology) -> None:
    await put_aside(amqp_url, topology, b"first", b"second")

    seen = [await letters() for _ in range(25)]  # RabbitMQ 4 drops a message after 20 redeliveries
    shown = await isoline("dlq", "show", seen[0]["first"])

    assert all(names == seen[0] for names in seen)
    assert list(seen[0]) == ["first", "second"]
    assert shown == "first\n"


async def test_one_is_replayed_and_one_dropped_and_both_are_recorded(
    amqp_url: str, topology: Topology, database: Database
) -> None:
    await put_aside(amqp_url, topology, b"again", b"never", b"stays")
    names = await letters()

    await isoline("dlq", "replay", names["again"], "--why", "fixed", "--who", "ada", "--yes")
    await isoline("dlq", "drop", names["never"], "--why", "junk", "--who", "ada", "--yes")
    dry = await isoline("dlq", "drop", "--all", "--why", "look", "--dry-run")

    assert dry == "drop 1 dead letters (nothing was done)\n"
    assert list(await letters()) == ["stays"]
    async with (
        asyncio.timeout(_LIMIT_S),
        open_rabbitmq_consumer(amqp_url, topology=topology, prefetch=9) as consumer,
    ):
        [delivery] = await consumer.receive(9)
        await delivery.ack()
    assert delivery.body == b"again"
    async with database.connection() as connection:
        records = await connection.fetch("SELECT who, why, what FROM operation ORDER BY row")
    assert [tuple(record) for record in records] == [
        ("ada", "fixed", "dlq replay"),
        ("ada", "junk", "dlq drop"),
    ]


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"password": "canary"}, 2, "RabbitMQ: ACCESS_REFUSED - Login was refused"),
        ({"path": "/nowhere"}, 2, "RabbitMQ: NOT_ALLOWED - vhost nowhere not found"),
        ({"scheme": "amqps"}, 2, "RabbitMQ: the port does not speak TLS"),
        ({"host": "isoline.invalid"}, 2, "RabbitMQ: the broker's host name can't be resolved"),
        ({}, 1, "RabbitMQ: NOT_FOUND - no queue"),  # until a processor has declared it
        ({"port": 1}, 1, "RabbitMQ: "),
    ],
)
async def test_a_broker_that_refuses_is_named_in_one_sentence(
    amqp_url: str, topology: Topology, changes: dict[str, Any], status: int, reason: str
) -> None:
    url = amqp_url
    for part, value in changes.items():
        url = str(getattr(URL(amqp_url), f"with_{part}")(value))
    environment = {"ISOLINE_AMQP_URL": url, "ISOLINE_AMQP_NAMESPACE": f"{topology.namespace}other-"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "isoline", "dlq", "list"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | environment | {"PYTHONPATH": str(ROOT)},
    )
    async with asyncio.timeout(60):
        printed, _ = await process.communicate()

    assert printed.decode().startswith(reason)
    assert len(printed.splitlines()) == 1
    assert b"canary" not in printed
    assert process.returncode == status
