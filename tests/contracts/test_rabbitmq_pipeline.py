"""Many events to a write, and a broker, a channel or a network that fails in the middle of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import aio_pika

from shared.broker.rabbitmq import connection as rabbitmq
from shared.broker.rabbitmq import publisher as rabbitmq_publisher
from shared.broker.rabbitmq import publisher_confirms as unconfirmed
from shared.broker.rabbitmq.pipeline import PipelinedPublisher
from shared.broker.rabbitmq.publisher import open_rabbitmq_publisher
from shared.domain.errors import UnavailableError, UnroutableError
from shared.events import Event, EventType
from tests.contracts.brokers import open_channel, promptly
from tests.contracts.network import open_network

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    import pytest

    from shared.broker.rabbitmq.publisher import RabbitmqPublisher
    from shared.broker.topology import Topology

_LIMIT_S = 20


def an_event(body: bytes = b"{}", type_: EventType = EventType.SUBMITTED) -> Event:
    return Event(uuid4(), type_, body)


def a_publisher(
    amqp_url: str, topology: Topology, *, timeout_s: float = 5
) -> AbstractAsyncContextManager[RabbitmqPublisher]:
    return promptly(open_rabbitmq_publisher(amqp_url, topology=topology, timeout_s=timeout_s))


def pipeline_of(publisher: RabbitmqPublisher) -> PipelinedPublisher:
    assert isinstance(publisher._sender, PipelinedPublisher)
    return publisher._sender


async def publish_when_possible(publisher: RabbitmqPublisher) -> None:
    async with asyncio.timeout(_LIMIT_S):
        while await publisher.publish([an_event()]) != [None]:
            await asyncio.sleep(0.05)


async def count_waiting(amqp_url: str, topology: Topology) -> int:
    async with open_channel(amqp_url) as channel:
        queue = await channel.declare_queue(topology.submitted_queue, passive=True)
        return queue.declaration_result.message_count or 0


async def test_the_installed_versions_get_the_pipeline(amqp_url: str, topology: Topology) -> None:
    async with a_publisher(amqp_url, topology) as publisher:
        assert isinstance(publisher._sender, PipelinedPublisher)


async def test_returns_among_many_acks_reach_their_own_events(amqp_url: str, topology: Topology) -> None:
    routed, unrouted = EventType.SUBMITTED, EventType.DELETED
    types = [routed, unrouted, routed, routed, unrouted, unrouted, unrouted] * 300
    expected = {routed: type(None), unrouted: UnroutableError}

    async with a_publisher(amqp_url, topology) as publisher:
        calls = [types[start : start + 250] for start in range(0, len(types), 250)]
        outcomes = await asyncio.gather(
            *(publisher.publish([an_event(type_=type_) for type_ in call]) for call in calls)
        )

    found = [type(outcome) for call in outcomes for outcome in call]
    assert found == [expected[type_] for type_ in types]


async def test_events_that_the_broker_nacks_are_unavailable(amqp_url: str, topology: Topology) -> None:
    async with a_publisher(amqp_url, topology) as publisher, open_channel(amqp_url) as channel:
        full = await channel.declare_queue(
            exclusive=True, arguments={"x-max-length": 3, "x-overflow": "reject-publish"}
        )
        await full.bind(topology.exchange, EventType.PROCESSED)
        mixed = [an_event(type_=type_) for type_ in (EventType.PROCESSED, EventType.SUBMITTED) * 20]

        outcomes = await publisher.publish(mixed)

    assert outcomes[1::2] == [None] * 20
    assert outcomes[:6:2] == [None] * 3
    assert isinstance(outcomes[-2], UnavailableError)
    assert "refused" in str(outcomes[-2])


async def test_a_channel_that_the_broker_closes_midway_leaves_no_event_without_an_outcome(
    amqp_url: str, topology: Topology
) -> None:
    async with a_publisher(amqp_url, topology) as publisher:
        async with open_channel(amqp_url) as channel:
            await channel.exchange_delete(topology.exchange)

        async with asyncio.timeout(2):
            outcomes = await publisher.publish([an_event()] * 3_000)
        await publish_when_possible(publisher)

    assert {type(outcome) for outcome in outcomes} == {UnavailableError}


async def test_events_on_a_connection_that_is_cut_midway_are_unavailable_at_once(
    amqp_url: str, topology: Topology
) -> None:
    async with open_network(amqp_url) as network, a_publisher(network.url, topology) as publisher:
        publishing = asyncio.create_task(publisher.publish([an_event(b"x" * 1_000)] * 20_000))
        while pipeline_of(publisher)._confirms.next_tag < 2_000:
            await asyncio.sleep(0)
        network.cut()

        async with asyncio.timeout(2):
            outcomes = await publishing
        await publish_when_possible(publisher)

    assert {type(outcome) for outcome in outcomes} == {type(None), UnavailableError}
    taken = outcomes.count(None)
    assert taken <= await count_waiting(amqp_url, topology)


async def test_no_more_unconfirmed_events_than_the_window_are_ever_sent(
    amqp_url: str, topology: Topology
) -> None:
    async with (
        open_network(amqp_url) as network,
        a_publisher(network.url, topology, timeout_s=0.3) as publisher,
    ):
        network.freeze()

        for _ in range(3):
            outcomes = await publisher.publish([an_event()] * 2_000)
            assert {type(outcome) for outcome in outcomes} == {UnavailableError}
        on_the_way = pipeline_of(publisher)._confirms.next_tag - 1
        network.heal()
        await publish_when_possible(publisher)

    assert unconfirmed.MAX_MESSAGES <= on_the_way < unconfirmed.MAX_MESSAGES + 64
    assert await count_waiting(amqp_url, topology) >= on_the_way


async def test_confirms_of_cancelled_publishes_are_not_matched_with_others(
    amqp_url: str, topology: Topology
) -> None:
    unroutable = [an_event(type_=EventType.DELETED)] * 100

    async with a_publisher(amqp_url, topology) as publisher:
        for turns in range(40):
            publishing = asyncio.create_task(publisher.publish(unroutable))
            for _ in range(turns):
                await asyncio.sleep(0)
            publishing.cancel()
            outcomes = await publisher.publish([an_event(), an_event(type_=EventType.FAILED)] * 3)
            await asyncio.wait([publishing])

            assert [type(outcome) for outcome in outcomes] == [type(None), UnroutableError] * 3


async def test_a_connection_whose_confirmations_are_lost_is_replaced(
    amqp_url: str, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rabbitmq, "_PROBE_EVERY_S", 0.1)
    monkeypatch.setattr(rabbitmq_publisher, "_CONFIRM_WITHIN_S", 0.2)
    async with a_publisher(amqp_url, topology, timeout_s=0.3) as publisher:
        stalled = pipeline_of(publisher)
        monkeypatch.setattr(stalled._confirms, "confirm", lambda *_, **__: None)

        [outcome] = await publisher.publish([an_event()])
        await publish_when_possible(publisher)

        assert isinstance(outcome, UnavailableError)
        assert pipeline_of(publisher) is not stalled


async def test_nothing_is_sent_while_the_broker_blocks_publishers(amqp_url: str, topology: Topology) -> None:
    async with a_publisher(amqp_url, topology, timeout_s=0.3) as publisher:
        channel = pipeline_of(publisher).channel
        block = channel.connection._Connection__connection_unblocked  # type: ignore[attr-defined]
        block.clear()

        [outcome] = await publisher.publish([an_event()])
        block.set()
        await publish_when_possible(publisher)

    assert isinstance(outcome, UnavailableError)
    assert await count_waiting(amqp_url, topology) == 1


async def test_large_and_small_bodies_stay_in_step(amqp_url: str, topology: Topology) -> None:
    sizes = [0, 1, 131_064, 131_065, 300_000, 2, 262_128, 0]

    async with a_publisher(amqp_url, topology) as publisher, open_channel(amqp_url) as channel:
        outcomes = await publisher.publish([an_event(b"x" * size) for size in sizes])
        queue = await channel.get_queue(topology.submitted_queue, ensure=False)
        received = [await queue.get(no_ack=True) for _ in sizes]

    assert outcomes == [None] * len(sizes)
    assert [
        len(message.body) for message in received if isinstance(message, aio_pika.IncomingMessage)
    ] == sizes
