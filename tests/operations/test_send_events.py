"""`isoline events send`: the log's events into one queue."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import aio_pika
import pytest
from typer.testing import CliRunner

from isoline.cli.app import app
from shared.domain.errors import ConfigurationError, UnavailableError
from shared.events import EventType
from shared.operations import send_events as use_case
from tests.contracts.test_event_log import erase, settle, submit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika.abc import AbstractChannel, AbstractQueue

    from shared.broker.topology import Topology
    from shared.storage.pool.database import Database

_WITHIN_S: Final = 20.0


@pytest.fixture(autouse=True)
def _environment(
    amqp_url: str, topology: Topology, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOLINE_AMQP_URL", amqp_url)
    monkeypatch.setenv("ISOLINE_AMQP_NAMESPACE", topology.namespace)
    monkeypatch.setenv("ISOLINE_DATABASE_URL", database_url)
    monkeypatch.setenv("ISOLINE_SOURCE", "urn:uuid:00000000-0000-4000-8000-000000000000")


@pytest.fixture
async def channel(amqp_url: str) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(amqp_url, timeout=_WITHIN_S) as connection:
        yield await connection.channel()


@pytest.fixture
async def queues(
    channel: AbstractChannel, topology: Topology
) -> AsyncIterator[tuple[AbstractQueue, AbstractQueue]]:
    """A subscriber's, and another's; both are bound to what is published."""
    exchange = await channel.declare_exchange(topology.exchange, aio_pika.ExchangeType.TOPIC, durable=True)
    billing, other = [
        await channel.declare_queue(f"{topology.namespace}sub.{name}", durable=True)
        for name in ("billing", "other")
    ]
    for queue in (billing, other):
        await queue.bind(exchange, "#")
    yield billing, other
    for queue in (billing, other):
        await queue.delete(if_unused=False, if_empty=False)


async def send(*arguments: str) -> Any:
    """The result of the command."""
    note = ["--why", "it came late", "--who", "olga", "--yes"]
    return await asyncio.to_thread(CliRunner().invoke, app, ["events", "send", *note, *arguments])


async def bodies(queue: AbstractQueue) -> list[bytes]:
    found = []
    while (message := await queue.get(fail=False, no_ack=True)) is not None:
        assert message.content_type == "application/cloudevents+json"
        found.append(message.body)
    return found


async def test_one_queue_gets_what_happened_with_its_first_ids_and_no_other_hears_anything(
    database: Database, queues: tuple[AbstractQueue, AbstractQueue], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(use_case, "_PAGE", 2)
    billing, other = queues
    events = list(await settle(database, await submit(database, "10", "11", "12")))
    events.append(await erase(database, (await submit(database, "13"))[0]))

    result = await send("--queue", billing.name)

    assert result.output == f"4 events were put into {billing.name}.\n", result.exception
    assert sorted(await bodies(billing)) == sorted(event.body for event in events)
    assert await bodies(other) == []
    async with database.connection() as connection:
        record = await connection.fetchrow("SELECT who, why, what, subject FROM operation")
    assert record is not None
    assert (record["who"], record["why"], record["what"]) == ("olga", "it came late", "events send")
    assert json.loads(record["subject"])["queue"] == billing.name


async def test_types_and_times_choose(
    database: Database, queues: tuple[AbstractQueue, AbstractQueue]
) -> None:
    billing, _ = queues
    await settle(database, await submit(database, "10"))
    deleted = await erase(database, (await submit(database, "11"))[0])

    await send("--queue", billing.name, "--type", EventType.DELETED)
    await send("--queue", billing.name, "--since", "2999-01-01")
    await send("--queue", billing.name, "--until", "2001-01-01")

    assert await bodies(billing) == [deleted.body]


async def test_a_queue_that_is_not_there_is_said_and_nothing_recorded(database: Database) -> None:
    await settle(database, await submit(database, "10"))

    result = await send("--queue", "sub.nobody")

    assert isinstance(result.exception, UnavailableError)
    assert "sub.nobody" in str(result.exception)
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM operation") == 0


async def test_a_dry_run_sends_nothing(
    database: Database, queues: tuple[AbstractQueue, AbstractQueue]
) -> None:
    billing, _ = queues
    await settle(database, await submit(database, "10"))

    result = await send("--queue", billing.name, "--dry-run")

    assert "nothing was done" in result.output
    assert await bodies(billing) == []


async def test_it_is_for_real_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ISOLINE_DATABASE_URL")

    assert isinstance((await send("--queue", "sub.billing")).exception, ConfigurationError)
