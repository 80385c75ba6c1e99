"""Each service works with the permissions that `isoline topology apply --grant` gives, and has no others."""

from __future__ import annotations

import asyncio
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import aio_pika
import pytest
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity, ChannelPreconditionFailed
from yarl import URL

from shared.broker.permissions import Permissions, permissions_of
from shared.broker.rabbitmq import connection as rabbitmq
from shared.broker.rabbitmq.consumer import open_rabbitmq_consumer
from shared.broker.rabbitmq.dead_letters import open_dead_letters
from shared.broker.rabbitmq.publisher import open_rabbitmq_publisher
from shared.broker.topology import Topology, declare
from shared.domain.errors import UnavailableError, UnroutableError
from shared.events import Event, EventType
from shared.ports.operators.dead_letters import Decision
from shared.service import Service
from tests.contracts.brokers import open_channel, promptly
from tests.support.logs import capture_logs
from tests.support.metrics import metric_value
from tests.support.polling import until
from tests.support.servers.folders import server_folder
from tests.support.servers.rabbitmq_server import open_rabbitmq_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aio_pika.abc import AbstractChannel
    from pamqp.common import FieldValue

    from tests.support.servers.rabbitmq_server import RabbitmqServer

_LIMIT_S: Final = 30
_EVENTS_PAGE: Final = Path(__file__).parents[2] / "docs/events.md"
_APPLY: Final = "an administrator's `isoline topology apply` does"


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[RabbitmqServer]:
    """A node of this file's own, to be administered."""
    with server_folder() as folder:
        async with open_rabbitmq_server(folder) as node:
            yield node


@pytest.fixture
async def own_topology(server: RabbitmqServer) -> Topology:
    """Names of this test's own at that node, which are not declared; the users may use them."""
    return await a_permitted_topology(server)


@pytest.fixture(scope="module")
async def shared_topology(server: RabbitmqServer) -> Topology:
    """The same for several tests, and declared."""
    topology = await a_permitted_topology(server)
    await apply(server, topology)
    return topology


async def a_permitted_topology(server: RabbitmqServer) -> Topology:
    topology = Topology(namespace=f"test-{uuid4().hex[:8]}-")
    for service in Service:
        user = user_of(topology, service)
        await server.control("add_user", user, "secret")
        await server.control("set_permissions", user, *permissions_of([service], topology))
    return topology


def user_of(topology: Topology, service: Service) -> str:
    return f"{topology.namespace}{service}"


@pytest.fixture(autouse=True)
def promptly_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts to connect and looks at a connection follow each other closely."""
    monkeypatch.setattr(rabbitmq, "_FIRST_BACKOFF_S", 0.05)
    monkeypatch.setattr(rabbitmq, "_LONGEST_BACKOFF_S", 0.1)
    monkeypatch.setattr(rabbitmq, "_STABLE_AFTER_S", 0.1)
    monkeypatch.setattr(rabbitmq, "_PROBE_EVERY_S", 0.2)


def url_of(server: RabbitmqServer, topology: Topology, service: Service) -> str:
    return str(URL(server.amqp_url).with_user(user_of(topology, service)).with_password("secret"))


def an_event(type_: EventType = EventType.SUBMITTED, body: bytes = b"{}") -> Event:
    return Event(uuid4(), type_, body)


async def apply(server: RabbitmqServer, topology: Topology) -> None:
    async with open_channel(server.amqp_url) as channel:
        await declare(channel, topology)


async def until_failure(check: Callable[[], Awaitable[None]], words: str) -> str:
    """The text with which the check fails, once it has these words; ``""`` for a check that passes."""
    async with asyncio.timeout(_LIMIT_S):
        while True:
            try:
                await check()
                text = ""
            except UnavailableError as error:
                text = str(error)
            if (words in text) if words else not text:
                return text
            await asyncio.sleep(0.02)


async def test_a_gateway_publishes_a_processor_consumes_and_publishes_and_an_operator_settles(
    server: RabbitmqServer, own_topology: Topology
) -> None:
    await apply(server, own_topology)
    with capture_logs() as records:
        async with (
            asyncio.timeout(_LIMIT_S),
            promptly(
                open_rabbitmq_publisher(url_of(server, own_topology, Service.GATEWAY), topology=own_topology)
            ) as gateway,
            promptly(
                open_rabbitmq_publisher(
                    url_of(server, own_topology, Service.PROCESSOR), topology=own_topology
                )
            ) as processor,
            promptly(
                open_rabbitmq_consumer(
                    url_of(server, own_topology, Service.PROCESSOR), topology=own_topology, prefetch=10
                )
            ) as consumer,
            open_dead_letters(
                url_of(server, own_topology, Service.OPERATOR), topology=own_topology
            ) as letters,
        ):
            for body in (b"good", b"bad"):
                assert await gateway.publish([an_event(body=body)]) == [None]
                [delivery] = await consumer.receive(1)
                await (delivery.ack() if body == b"good" else delivery.dead_letter())
            [unrouted] = await processor.publish([an_event(EventType.PROCESSED)])
            while not await letters.settle_each(lambda _: Decision.KEEP):
                await asyncio.sleep(0.02)
            [replayed] = await letters.settle_each(lambda _: Decision.REPLAY)
            [again] = await consumer.receive(1)
            await again.ack()
            await until_failure(gateway.check_last_publish, "")
            await until_failure(consumer.check, "")

    assert isinstance(unrouted, UnroutableError)  # nobody subscribes
    assert (replayed.body, again.body) == (b"bad", b"bad")
    assert [record for record in records if record["message"] == "broker is away"] == []


async def test_a_processor_tells_what_its_queues_hold_and_works_on_without_the_dead_letters(
    server: RabbitmqServer, own_topology: Topology
) -> None:
    await apply(server, own_topology)
    async with asyncio.timeout(_LIMIT_S):
        async with (
            promptly(
                open_rabbitmq_consumer(
                    url_of(server, own_topology, Service.PROCESSOR), topology=own_topology, prefetch=2
                )
            ) as consumer,
            promptly(
                open_rabbitmq_publisher(
                    url_of(server, own_topology, Service.PROCESSOR), topology=own_topology
                )
            ) as publisher,
        ):
            await publisher.publish([an_event()] * 5)
            await (await consumer.receive(1))[0].dead_letter()
            held = await consumer.receive(1)
            # One is a dead letter and two are delivered, so that two wait.
            await until(lambda: queue_gauges() == [2, 1, 2, 1])
            async with open_channel(server.amqp_url) as channel:
                await channel.queue_delete(own_topology.dead_letter_queue)
            await until(lambda: math.isnan(metric_value("isoline_dead_letters")))
            await consumer.check()
            await held[0].ack()
            await until(lambda: queue_gauges()[:3] == [1, 1, 2])

        assert [str(value) for value in queue_gauges()] == ["nan", "nan", "0.0", "nan"]


def queue_gauges() -> list[float]:
    names = ("queue_ready_messages", "queue_consumers", "unacknowledged_messages", "dead_letters")
    return [metric_value(f"isoline_{name}") for name in names]


async def test_a_topology_that_is_missing_is_named_with_the_command_that_makes_it(
    server: RabbitmqServer, own_topology: Topology
) -> None:
    with capture_logs() as records:
        async with (
            promptly(
                open_rabbitmq_publisher(url_of(server, own_topology, Service.GATEWAY), topology=own_topology)
            ) as gateway,
            promptly(
                open_rabbitmq_consumer(
                    url_of(server, own_topology, Service.PROCESSOR), topology=own_topology, prefetch=10
                )
            ) as consumer,
        ):
            reasons = [
                await until_failure(check, "NOT_FOUND")
                for check in (gateway.check_last_publish, consumer.check)
            ]
            await apply(server, own_topology)
            await until_failure(gateway.check_last_publish, "")
            await until_failure(consumer.check, "")

    for reason in reasons:
        assert reason.startswith("RabbitMQ: NOT_FOUND - no exchange ")
        assert reason.endswith(f"; this user has no right to declare it, {_APPLY}")
    # Each names what is missing first, so one that connects while they are being declared has another reason.
    away = [(it["connection"], it["reason"]) for it in records if it["message"] == "broker is away"]
    assert len(set(away)) == len(away)
    assert {connection for connection, _ in away} == {"isoline publisher", "isoline consumer"}


async def test_a_queue_that_is_not_bound_is_named_with_the_command_that_binds_it(
    server: RabbitmqServer, own_topology: Topology
) -> None:
    await apply(server, own_topology)
    async with promptly(
        open_rabbitmq_publisher(url_of(server, own_topology, Service.GATEWAY), topology=own_topology)
    ) as gateway:
        async with open_channel(server.amqp_url) as channel:
            queue = await channel.get_queue(own_topology.submitted_queue)
            await queue.unbind(own_topology.exchange, EventType.SUBMITTED)
        await gateway.publish([an_event()])
        reason = await until_failure(gateway.check_last_publish, _APPLY)
        await gateway.publish([an_event()])
        again = await until_failure(gateway.check_last_publish, _APPLY)
        await apply(server, own_topology)

        assert await gateway.publish([an_event()]) == [None]
        assert await until_failure(gateway.check_last_publish, "") == ""
    assert reason.startswith("RabbitMQ: no queue is bound to ecg.submitted; ")
    assert again == reason


async def read(channel: AbstractChannel, queue: str) -> None:
    await (await channel.get_queue(queue, ensure=False)).get(fail=False)


async def purge(channel: AbstractChannel, queue: str) -> None:
    await (await channel.get_queue(queue, ensure=False)).purge()


async def delete(channel: AbstractChannel, queue: str) -> None:
    await channel.queue_delete(queue)


async def publish(channel: AbstractChannel, exchange: str) -> None:
    target = await channel.get_exchange(exchange, ensure=False)
    await target.publish(aio_pika.Message(b"{}"), EventType.SUBMITTED, mandatory=False)


async def publish_to_queue(channel: AbstractChannel, queue: str) -> None:
    await channel.default_exchange.publish(aio_pika.Message(b"{}"), queue)


async def declare_queue(channel: AbstractChannel, queue: str) -> None:
    await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})


async def declare_exchange(channel: AbstractChannel, exchange: str) -> None:
    await channel.declare_exchange(exchange, aio_pika.ExchangeType.TOPIC, durable=True)


async def bind(channel: AbstractChannel, queue: str) -> None:
    await (await channel.get_queue(queue, ensure=False)).bind("amq.topic", "#")


_EVENTS, _LETTERS = "exchange", "dead_letter_exchange"
_WORK, _DEAD = "submitted_queue", "dead_letter_queue"


@pytest.mark.parametrize(
    ("service", "act", "name"),
    [
        (Service.GATEWAY, read, _WORK),
        (Service.GATEWAY, purge, _WORK),
        (Service.GATEWAY, delete, _WORK),
        (Service.GATEWAY, bind, _WORK),
        (Service.GATEWAY, publish_to_queue, _WORK),
        (Service.GATEWAY, declare_queue, _WORK),
        (Service.GATEWAY, declare_exchange, _EVENTS),
        (Service.GATEWAY, publish, _LETTERS),
        (Service.GATEWAY, read, _DEAD),
        (Service.PROCESSOR, delete, _WORK),
        (Service.PROCESSOR, declare_queue, _WORK),
        (Service.PROCESSOR, declare_exchange, _EVENTS),
        (Service.PROCESSOR, publish, _LETTERS),
        (Service.PROCESSOR, read, _DEAD),
        (Service.PROCESSOR, purge, _DEAD),
        (Service.PROCESSOR, publish_to_queue, _WORK),
        (Service.OPERATOR, read, _WORK),
        (Service.OPERATOR, purge, _WORK),
        (Service.OPERATOR, delete, _DEAD),
        (Service.OPERATOR, declare_queue, _DEAD),
    ],
)
async def test_a_service_may_do_nothing_that_it_need_not_do(
    service: Service,
    act: Callable[[AbstractChannel, str], Awaitable[None]],
    name: str,
    server: RabbitmqServer,
    shared_topology: Topology,
) -> None:
    async with open_channel(url_of(server, shared_topology, service)) as channel:
        with pytest.raises(ChannelAccessRefused):
            await act(channel, getattr(shared_topology, name))


def test_a_dot_in_a_name_is_a_dot_and_users_of_other_installations_are_others() -> None:
    assert permissions_of([Service.GATEWAY], Topology()) == Permissions("^$", "^(ecg[.]events)$", "^$")
    assert permissions_of([Service.GATEWAY], Topology("a.")).write == "^(a[.]ecg[.]events)$"
    assert permissions_of([Service.PROCESSOR], Topology()).read == "^(processor[.]ecg-submitted)$"
    assert permissions_of([Service.GATEWAY, Service.PROCESSOR], Topology()) == Permissions(
        write="^(ecg[.]events)$", read="^(processor[.]ecg-submitted)$"
    )


@pytest.fixture(scope="module")
async def billing(server: RabbitmqServer) -> str:
    """The URL of the subscriber of docs/events.md, with the rights that it says."""
    [command] = re.findall(
        r"^rabbitmqctl (set_permissions billing .*)$", _EVENTS_PAGE.read_text(), re.MULTILINE
    )
    await server.control("add_user", "billing", "secret")
    await server.control(*(word.strip("'") for word in command.split()))
    await apply(server, Topology())
    return str(URL(server.amqp_url).with_user("billing").with_password("secret"))


class TestSubscriber:
    async def test_of_its_own_queue_alone_gets_events(self, server: RabbitmqServer, billing: str) -> None:
        async with open_channel(billing) as channel:
            await channel.declare_exchange(Topology().exchange, aio_pika.ExchangeType.TOPIC, passive=True)
            queue = await channel.declare_queue(
                "sub.billing", durable=True, arguments={"x-queue-type": "quorum"}
            )
            await queue.bind(Topology().exchange, EventType.PROCESSED)
            async with open_rabbitmq_publisher(server.amqp_url, topology=Topology()) as publisher:
                await publisher.publish([an_event(EventType.PROCESSED, b'{"id": "1"}')])
            async with asyncio.timeout(_LIMIT_S), queue.iterator() as messages:
                message = await anext(messages)
                await message.ack()

        assert message.body == b'{"id": "1"}'
        assert message.content_type == "application/cloudevents+json"
        assert message.type == message.routing_key == "ecg.processed"

    async def test_has_a_dead_letter_exchange_of_its_own(self, billing: str) -> None:
        async with open_channel(billing) as channel:
            await channel.declare_exchange("sub.billing.dead", aio_pika.ExchangeType.FANOUT, durable=True)
            dead = await channel.declare_queue("sub.billing.dead", durable=True)
            await dead.bind("sub.billing.dead")
            arguments: dict[str, FieldValue] = {
                "x-queue-type": "quorum",
                "x-dead-letter-exchange": "sub.billing.dead",
            }
            await channel.declare_queue("sub.billing.2", durable=True, arguments=arguments)

    async def test_can_not_declare_the_exchange(self, billing: str) -> None:
        async with open_channel(billing) as channel:
            with pytest.raises(ChannelAccessRefused):
                await declare_exchange(channel, Topology().exchange)

    async def test_that_may_declare_it_otherwise_is_refused_with_406(
        self, server: RabbitmqServer, billing: str
    ) -> None:
        assert billing
        async with open_channel(server.amqp_url) as channel:
            with pytest.raises(ChannelPreconditionFailed, match="PRECONDITION_FAILED"):
                await channel.declare_exchange(
                    Topology().exchange, aio_pika.ExchangeType.TOPIC, durable=False
                )

    async def test_is_told_by_404_that_isoline_has_not_been_started(self, billing: str) -> None:
        async with open_channel(billing) as channel:
            with pytest.raises(ChannelNotFoundEntity):
                await channel.declare_exchange("not-yet.ecg.events", passive=True)

    async def test_can_not_declare_its_queue_with_other_arguments(self, billing: str) -> None:
        quorum: dict[str, FieldValue] = {"x-queue-type": "quorum"}
        async with open_channel(billing) as channel:
            await channel.declare_queue("sub.billing.3", durable=True, arguments=quorum)
            with pytest.raises(ChannelPreconditionFailed):
                await channel.declare_queue(
                    "sub.billing.3", durable=True, arguments=quorum | {"x-max-length": 5}
                )
        async with open_channel(billing) as channel:
            with pytest.raises(ChannelPreconditionFailed):
                await channel.declare_queue("sub.billing.3", durable=True)

    @pytest.mark.parametrize(
        ("act", "name"),
        [
            (publish, "ecg.events"),
            (publish, "ecg.dead-letters"),
            (publish_to_queue, "processor.ecg-submitted"),
            (read, "processor.ecg-submitted"),
            (read, "processor.ecg-submitted.dead"),
            (declare_queue, "sub.other"),
            (declare_queue, "sub.billings"),
            (bind, "sub.other"),
            (delete, "processor.ecg-submitted"),
        ],
    )
    async def test_may_do_nothing_else(
        self, act: Callable[[AbstractChannel, str], Awaitable[None]], name: str, billing: str
    ) -> None:
        async with open_channel(billing) as channel:
            with pytest.raises(ChannelAccessRefused):
                await act(channel, name)
