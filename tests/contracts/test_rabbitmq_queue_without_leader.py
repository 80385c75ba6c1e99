"""The processors' queue is there and has no leader, as after a kill of the node that had just declared it."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest
from typer.testing import CliRunner
from yarl import URL

from isoline.cli.app import app
from shared.broker.inspection import queues_without_answer
from shared.broker.rabbitmq.consumer import open_rabbitmq_consumer
from shared.broker.rabbitmq.publisher import open_rabbitmq_publisher
from shared.broker.topology import Topology, declare
from shared.domain.errors import UnavailableError
from shared.events import Event, EventType
from tests.contracts.brokers import open_channel, promptly
from tests.support.logs import capture_logs
from tests.support.polling import until
from tests.support.servers.folders import server_folder
from tests.support.servers.rabbitmq_server import open_rabbitmq_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.servers.rabbitmq_server import RabbitmqServer

_WITHIN_S: Final = 60.0
_TOPOLOGY: Final = Topology()
_QUEUE: Final = _TOPOLOGY.submitted_queue
_TOLD: Final = f"RabbitMQ: the queue {_QUEUE} does not answer; it may have no leader"
_OF_ITS_MEMBER: Final = f"""
{{ok, Queue}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{_QUEUE}">>)),
Member = {{Name, _}} = amqqueue:get_pid(Queue),
"""
# It answers nobody any more, as a member without a leader.
_SUSPEND: Final = f"{_OF_ITS_MEMBER} sys:suspend(Name)."
_STOP: Final = f"{_OF_ITS_MEMBER} ra:stop_server(quorum_queues, Member)."


@pytest.fixture(scope="module")
async def node() -> AsyncIterator[RabbitmqServer]:
    """A node of this file's own."""
    with server_folder() as folder:
        async with open_rabbitmq_server(folder) as node:
            yield node


@pytest.fixture
async def server(node: RabbitmqServer) -> AsyncIterator[RabbitmqServer]:
    """The node with the queues declared; they are deleted afterwards."""
    async with open_channel(node.amqp_url) as channel:
        await declare(channel, _TOPOLOGY)
        yield node
        for queue in (_QUEUE, _TOPOLOGY.dead_letter_queue):
            await channel.queue_delete(queue)


async def test_it_is_told_by_name_and_mended_by_deleting_it(
    server: RabbitmqServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOLINE_AMQP_URL", server.amqp_url)
    await server.control("eval", _SUSPEND)
    consumer_opened = open_rabbitmq_consumer(server.amqp_url, topology=_TOPOLOGY, prefetch=1, is_paused=True)
    publisher_opened = open_rabbitmq_publisher(server.amqp_url, topology=_TOPOLOGY, timeout_s=1)
    event = Event(uuid4(), EventType.SUBMITTED, b"{}")
    with capture_logs() as records:
        async with (
            asyncio.timeout(2 * _WITHIN_S),
            promptly(consumer_opened) as consumer,
            promptly(publisher_opened) as publisher,
        ):
            await consumer.resume()
            [outcome] = await publisher.publish([event])
            await until(partial(_tells, consumer.check, _TOLD), within_s=_WITHIN_S)
            found = await _line_of_doctor("queues")

            await server.control("delete_queue", _QUEUE)

            await until(partial(_works, consumer.check), within_s=_WITHIN_S)
            await until(partial(_is_published, publisher, event), within_s=_WITHIN_S)
            [delivery] = await consumer.receive(1)
            await delivery.ack()

    assert isinstance(outcome, UnavailableError)
    assert "one of its queues may have no leader" in str(outcome)
    assert found == {
        "verdict": "failed",
        "reason": f"no answer of {_QUEUE}, as of a queue without a leader",
        "remedy": "start the nodes that are away; if none is, delete the queue: no ECG is lost",
        "see": "docs/runbook.md#a-queue-has-no-leader",
    }
    assert _TOLD.removeprefix("RabbitMQ: ") in {record.get("reason") for record in records}
    assert delivery.body == event.body


async def test_a_queue_that_takes_no_question_has_no_answer_either(server: RabbitmqServer) -> None:
    await server.control("eval", _STOP)

    async with asyncio.timeout(_WITHIN_S):
        found = await queues_without_answer(server.amqp_url, [_TOPOLOGY.dead_letter_queue, _QUEUE])

    assert found == [_QUEUE]


async def test_asking_takes_no_message_and_tells_nothing_of_what_may_not_be_read(
    server: RabbitmqServer,
) -> None:
    names = [_QUEUE, _TOPOLOGY.dead_letter_queue, "nowhere"]
    await server.control("add_user", "gateway", "secret")
    await server.control("set_permissions", "gateway", "^$", "^ecg[.]events$", "^$")
    gateway = str(URL(server.amqp_url).with_user("gateway").with_password("secret"))
    event = Event(uuid4(), EventType.SUBMITTED, b"{}")
    async with (
        asyncio.timeout(_WITHIN_S),
        promptly(open_rabbitmq_publisher(server.amqp_url, topology=_TOPOLOGY)) as publisher,
    ):
        of_empty_queues = await queues_without_answer(server.amqp_url, names)
        of_a_gateway = await queues_without_answer(gateway, names)
        await publisher.publish([event])
        of_a_message = await queues_without_answer(server.amqp_url, names)
        async with promptly(
            open_rabbitmq_consumer(server.amqp_url, topology=_TOPOLOGY, prefetch=1)
        ) as consumer:
            [delivery] = await consumer.receive(1)
            await delivery.ack()

    assert of_empty_queues == of_a_gateway == of_a_message == []
    assert (delivery.body, delivery.attempt) == (event.body, 1)


async def _tells(check: Callable[[], Awaitable[None]], reason: str) -> bool:
    try:
        await check()
    except UnavailableError as error:
        return str(error) == reason
    return False


async def _works(check: Callable[[], Awaitable[None]]) -> bool:
    try:
        await check()
    except UnavailableError:
        return False
    return True


async def _is_published(publisher: Any, event: Event) -> bool:
    return bool(await publisher.publish([event]) == [None])


async def _line_of_doctor(name: str) -> dict[str, Any]:
    """What the doctor says; of the servers it knows RabbitMQ alone."""
    result = await asyncio.to_thread(CliRunner().invoke, app, ["doctor", "--format", "json"])
    lines: list[dict[str, Any]] = json.loads(result.output)["checks"]
    return {line.pop("name"): line for line in lines}[name]
