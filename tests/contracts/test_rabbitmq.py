"""RabbitMQ beyond the contract of both brokers: message properties, administration and network failures."""

from __future__ import annotations

import asyncio
import gc
import logging
import warnings
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import aio_pika
import aiormq
import pytest
from aiormq.abc import ChannelFrame, DeliveredMessage
from pamqp import commands as spec
from pamqp.header import ContentHeader
from yarl import URL

from shared.broker.rabbitmq import connection as rabbitmq
from shared.broker.rabbitmq import consumer as rabbitmq_consumer
from shared.broker.rabbitmq.consumer import RabbitmqDelivery, open_rabbitmq_consumer
from shared.broker.rabbitmq.dead_letters import open_dead_letters
from shared.broker.rabbitmq.publisher import open_rabbitmq_publisher
from shared.broker.topology import declare_or_check
from shared.domain.errors import UnavailableError, UnroutableError
from shared.events import Event, EventType
from shared.ports.operators.dead_letters import Decision
from shared.runtime.supervision import failure_of
from tests.contracts.brokers import open_channel, promptly
from tests.contracts.network import open_network
from tests.support.logs import capture_logs
from tests.support.polling import until
from tests.support.servers.services import free_port

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from aio_pika.abc import AbstractIncomingMessage
    from aiormq.abc import AbstractChannel

    from shared.broker.rabbitmq.consumer import RabbitmqConsumer, _ConsumerSession
    from shared.broker.rabbitmq.publisher import RabbitmqPublisher
    from shared.broker.topology import Topology
    from shared.ports.broker import Consumer, Delivery, Publisher

_LIMIT_S = 20


def an_event(body: bytes = b"{}", type_: EventType = EventType.SUBMITTED) -> Event:
    return Event(uuid4(), type_, body)


def a_publisher(
    amqp_url: str, topology: Topology, *, timeout_s: float = 5, connect_timeout_s: float = 10
) -> AbstractAsyncContextManager[RabbitmqPublisher]:
    return promptly(
        open_rabbitmq_publisher(
            amqp_url, topology=topology, timeout_s=timeout_s, connect_timeout_s=connect_timeout_s
        )
    )


def a_consumer(
    amqp_url: str, topology: Topology, *, prefetch: int = 1
) -> AbstractAsyncContextManager[RabbitmqConsumer]:
    return promptly(open_rabbitmq_consumer(amqp_url, topology=topology, prefetch=prefetch))


async def publish_when_possible(publisher: Publisher, event: Event) -> None:
    async with asyncio.timeout(_LIMIT_S):
        while await publisher.publish([event]) != [None]:
            await asyncio.sleep(0.05)


async def receive_one(consumer: Consumer) -> bytes:
    async with asyncio.timeout(_LIMIT_S):
        [delivery] = await consumer.receive(1)
        await delivery.ack()
    return delivery.body


async def take_raw(amqp_url: str, topology: Topology, count: int) -> list[AbstractIncomingMessage]:
    """Messages of the submitted queue as the library shows them."""
    async with asyncio.timeout(_LIMIT_S), open_channel(amqp_url) as channel:
        queue = await channel.get_queue(topology.submitted_queue, ensure=False)
        messages: list[AbstractIncomingMessage] = []
        while len(messages) < count:
            message = await queue.get(fail=False)
            if message is not None:
                await message.ack()
                messages.append(message)
    return messages


@pytest.mark.usefixtures("versions")
class TestMessages:
    async def test_a_message_is_persistent_and_has_content_type_and_type(
        self, amqp_url: str, topology: Topology
    ) -> None:
        async with a_publisher(amqp_url, topology) as publisher:
            await publish_when_possible(publisher, an_event())

        [message] = await take_raw(amqp_url, topology, 1)
        assert message.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
        assert message.content_type == "application/cloudevents+json"
        assert (message.type, message.routing_key) == ("ecg.submitted", "ecg.submitted")

    async def test_each_attempt_has_a_message_id_of_its_own(self, amqp_url: str, topology: Topology) -> None:
        event = an_event()

        async with a_publisher(amqp_url, topology) as publisher:
            assert await publisher.publish([event, event]) == [None, None]
            assert await publisher.publish([event]) == [None]

        message_ids = {message.message_id for message in await take_raw(amqp_url, topology, 3)}
        assert len(message_ids - {str(event.id), event.id.hex, None}) == 3

    @pytest.mark.usefixtures("one_by_one")
    async def test_other_versions_of_the_libraries_are_logged_once(
        self, amqp_url: str, topology: Topology
    ) -> None:
        with capture_logs() as records:
            async with (
                a_publisher(amqp_url, topology) as publisher,
                a_consumer(amqp_url, topology) as consumer,
            ):
                await publish_when_possible(publisher, an_event())
                await publish_when_possible(publisher, an_event())
                await receive_one(consumer)

        logged = [record["message"] for record in records if record["level"] == "warning"]
        assert logged == ["events are published and acknowledged one by one, which is slower"]

    def test_a_redelivered_message_without_a_count_is_a_second_attempt(self) -> None:
        redelivered = DeliveredMessage(
            spec.Basic.Deliver("consumer", delivery_tag=1, redelivered=True),
            header=ContentHeader(),
            body=b"",
            channel=cast("AbstractChannel", None),
        )
        delivery = RabbitmqDelivery(redelivered, cast("_ConsumerSession", None))

        assert delivery.attempt == 2


class TestConnections:
    async def test_publisher_and_consumer_have_connections_of_their_own(
        self, amqp_url: str, topology: Topology, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names: list[str] = []
        connect = aio_pika.Connection.connect

        async def spy(connection: aio_pika.Connection) -> None:
            names.append(connection.kwargs["client_properties"]["connection_name"])
            await connect(connection)

        monkeypatch.setattr(aio_pika.Connection, "connect", spy)
        async with (
            open_rabbitmq_publisher(amqp_url, topology=topology, process="isoline test") as publisher,
            open_rabbitmq_consumer(
                amqp_url, topology=topology, prefetch=1, process="isoline test"
            ) as consumer,
        ):
            assert publisher.is_connected
            assert consumer.is_connected

        assert names == ["isoline test publisher", "isoline test consumer"]
        assert not publisher.is_connected
        assert not consumer.is_connected

    async def test_the_next_node_is_tried_when_one_is_unavailable(
        self, amqp_url: str, topology: Topology
    ) -> None:
        away = URL(amqp_url).with_port(free_port())

        async with a_publisher(f"{away},{amqp_url}", topology) as publisher:
            await publish_when_possible(publisher, an_event())

        async with open_dead_letters(f"{away},{amqp_url}", topology=topology) as letters:
            assert await letters.settle_each(lambda _: Decision.KEEP) == []

    @pytest.mark.usefixtures("versions")
    async def test_a_refused_password_is_neither_logged_nor_reported(
        self,
        amqp_url: str,
        topology: Topology,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        wrong = str(URL(amqp_url).with_password("canary-of-a-password"))

        with capture_logs() as records:
            async with a_publisher(wrong, topology) as publisher:
                [outcome] = await publisher.publish([an_event()])
        async with a_publisher(amqp_url, topology):
            pass  # the topology is there to be deleted

        assert isinstance(outcome, UnavailableError)
        # Once; a gateway that tests of the same process share may log its backlog meanwhile.
        assert [record["message"] for record in records].count("broker is away") == 1
        assert "canary" not in f"{outcome!r} {records!r} {caplog.text}"

    @pytest.mark.usefixtures("versions")
    async def test_a_broker_that_never_answers_is_unavailable_within_the_time_limits(
        self, amqp_url: str, topology: Topology
    ) -> None:
        async with open_network(amqp_url) as network, asyncio.timeout(5):
            network.freeze()
            async with a_publisher(network.url, topology, connect_timeout_s=0.3) as publisher:
                [outcome] = await publisher.publish([an_event()])
                network.heal()
                await publish_when_possible(publisher, an_event())

        assert isinstance(outcome, UnavailableError)

    @pytest.mark.usefixtures("versions")
    async def test_a_publish_on_a_frozen_connection_is_unavailable_after_its_time_limit(
        self, amqp_url: str, topology: Topology
    ) -> None:
        async with open_network(amqp_url) as network, AsyncExitStack() as opened:
            publisher = await opened.enter_async_context(a_publisher(network.url, topology, timeout_s=0.3))
            await publish_when_possible(publisher, an_event())
            network.freeze()

            # Enough to fill what the kernel would take from us.
            async with asyncio.timeout(2):
                outcomes = await publisher.publish([an_event(b"x" * 1_000_000)] * 30)
            async with asyncio.timeout(5):
                await opened.aclose()

        assert {type(outcome) for outcome in outcomes} == {UnavailableError}

    @pytest.mark.usefixtures("versions")
    async def test_a_publish_on_a_frozen_connection_can_be_cancelled(
        self, amqp_url: str, topology: Topology
    ) -> None:
        async with open_network(amqp_url) as network, a_publisher(network.url, topology) as publisher:
            network.freeze()
            publishing = asyncio.create_task(publisher.publish([an_event()] * 300))
            await asyncio.wait([publishing], timeout=0.1)

            publishing.cancel()
            await asyncio.wait([publishing], timeout=1)

            assert publishing.cancelled()

    async def test_a_cancellation_from_within_is_a_failure(self) -> None:
        async def lost_channel() -> None:
            raise asyncio.CancelledError

        assert isinstance(await failure_of(lost_channel()), ConnectionError)

    async def test_a_cancellation_of_ours_stays_one(self) -> None:
        waiting = asyncio.create_task(failure_of(asyncio.Event().wait()))
        await asyncio.sleep(0)

        waiting.cancel()
        await asyncio.wait([waiting], timeout=1)

        assert waiting.cancelled()

    async def test_a_cancellation_of_ours_stays_one_when_the_library_raises_something_else(self) -> None:
        async def closed_channel() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ConnectionError("the channel was closed") from None

        waiting = asyncio.create_task(failure_of(closed_channel()))
        await asyncio.sleep(0)

        waiting.cancel()
        await asyncio.wait([waiting], timeout=1)

        assert waiting.cancelled()

    async def test_a_cancellation_that_the_library_suppresses_still_ends_reconnecting(
        self, amqp_url: str, topology: Topology, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        is_closing = asyncio.Event()

        async def suppress_cancellation(*arguments: Any) -> bool:  # as a channel that closes may
            await declare_or_check(*arguments)
            is_closing.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            return True

        async def stay_connected() -> None:
            async with a_publisher(amqp_url, topology):
                await asyncio.Event().wait()

        monkeypatch.setattr(rabbitmq, "declare_or_check", suppress_cancellation)
        connecting = asyncio.create_task(stay_connected())
        await is_closing.wait()

        connecting.cancel()
        await asyncio.wait([connecting], timeout=5)

        assert connecting.cancelled()

    @pytest.mark.usefixtures("versions")
    async def test_each_publish_on_a_connection_that_is_cut_has_an_outcome(
        self, amqp_url: str, topology: Topology
    ) -> None:
        async with (
            open_network(amqp_url) as network,
            a_publisher(network.url, topology) as publisher,
        ):
            network.freeze()
            publishing = asyncio.create_task(publisher.publish([an_event()] * 300))
            await asyncio.wait([publishing], timeout=0.1)
            network.cut()

            async with asyncio.timeout(2):
                assert {type(outcome) for outcome in await publishing} == {UnavailableError}

            network.heal()
            await publish_when_possible(publisher, an_event())

    @pytest.mark.usefixtures("versions")
    async def test_a_consumer_comes_back_after_its_connection_was_cut(
        self, amqp_url: str, topology: Topology
    ) -> None:
        async with (
            open_network(amqp_url) as network,
            a_publisher(amqp_url, topology) as publisher,
            a_consumer(network.url, topology) as consumer,
        ):
            await publish_when_possible(publisher, an_event(b"1"))
            async with asyncio.timeout(_LIMIT_S):
                [stale] = await consumer.receive(1)

                network.cut()
                await stale.ack()
                [delivery] = await consumer.receive(1)

            assert (delivery.body, delivery.attempt) == (b"1", 2)

    @pytest.mark.usefixtures("versions")
    async def test_deliveries_from_before_the_cut_are_not_received_after_it(
        self, amqp_url: str, topology: Topology
    ) -> None:
        async with (
            open_network(amqp_url) as network,
            a_publisher(amqp_url, topology) as publisher,
            a_consumer(network.url, topology, prefetch=2) as consumer,
        ):
            await publish_when_possible(publisher, an_event(b"1"))
            await publish_when_possible(publisher, an_event(b"2"))
            async with asyncio.timeout(_LIMIT_S):
                [first] = await consumer.receive(1)
                network.cut()
                await until(lambda: not consumer.is_connected)

                again = [(await consumer.receive(1))[0] for _ in range(2)]

        assert sorted(delivery.body for delivery in again) == [b"1", b"2"]
        assert {delivery.attempt for delivery in again} == {2}
        assert first.attempt == 1

    @pytest.mark.usefixtures("versions")
    async def test_a_consumer_behind_a_black_hole_connects_again(
        self, amqp_url: str, topology: Topology, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rabbitmq, "_PROBE_EVERY_S", 0.2)
        monkeypatch.setattr(rabbitmq, "_PROBE_WITHIN_S", 0.5)
        async with open_network(amqp_url) as network, a_consumer(network.url, topology) as consumer:
            network.freeze()

            await until(lambda: not consumer.is_connected)
            network.heal()
            await until(lambda: consumer.is_connected)

    async def test_a_stalled_consumer_connects_again(
        self, amqp_url: str, topology: Topology, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rabbitmq, "_PROBE_EVERY_S", 0.2)
        monkeypatch.setattr(rabbitmq_consumer, "STALLED_AFTER_S", 0.5)
        async with (
            a_publisher(amqp_url, topology) as publisher,
            a_consumer(amqp_url, topology) as consumer,
        ):
            session = consumer._session
            assert session is not None
            assert session.consumer_tag is not None
            await session._channel.basic_cancel(
                session.consumer_tag
            )  # the broker has dropped the consumer without a message
            await publish_when_possible(publisher, an_event(b"1"))

            assert await receive_one(consumer) == b"1"

    async def test_it_says_whether_it_consumes(self, amqp_url: str, topology: Topology) -> None:
        async with open_network(amqp_url) as network, a_consumer(network.url, topology) as consumer:
            await consumer.check_consuming()
            await consumer.pause()
            with pytest.raises(UnavailableError, match=r"^consuming is paused$"):
                await consumer.check_consuming()
            await consumer.resume()
            await consumer.check_consuming()
            network.cut()
            await until(lambda: not consumer.is_connected)
            with pytest.raises(UnavailableError, match=r"^RabbitMQ: .+"):
                await consumer.check_consuming()

    @pytest.mark.usefixtures("versions")
    async def test_messages_that_were_acked_before_closing_are_not_redelivered(
        self, amqp_url: str, topology: Topology
    ) -> None:
        async with a_publisher(amqp_url, topology) as publisher:
            assert await publisher.publish([an_event()] * 200) == [None] * 200
            async with a_consumer(amqp_url, topology, prefetch=200) as consumer, asyncio.timeout(_LIMIT_S):
                acked = 0
                while acked < 200:
                    deliveries = await consumer.receive(200)
                    await asyncio.gather(*(delivery.ack() for delivery in deliveries))
                    acked += len(deliveries)

            await publish_when_possible(publisher, an_event(b"next"))
            async with a_consumer(amqp_url, topology) as consumer:
                assert await receive_one(consumer) == b"next"

    async def test_deliveries_that_are_acked_at_once_are_acked_with_one_frame(
        self, amqp_url: str, topology: Topology, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with (
            a_publisher(amqp_url, topology) as publisher,
            a_consumer(amqp_url, topology, prefetch=50) as consumer,
            asyncio.timeout(_LIMIT_S),
        ):
            deliveries: list[Delivery] = []
            assert await publisher.publish([an_event()] * 50) == [None] * 50
            while len(deliveries) < 50:
                deliveries += await consumer.receive(50)
            session = consumer._session
            assert session is not None
            written: list[ChannelFrame] = []
            queue = session._channel.connection.write_queue
            put = queue.put

            async def spy(frame: ChannelFrame) -> None:
                written.append(frame)
                await put(frame)

            monkeypatch.setattr(queue, "put", spy)
            await asyncio.gather(*(delivery.ack() for delivery in deliveries))

            assert [len(frame.payload) for frame in written] == [21]  # as many bytes as one acknowledgement

    async def test_a_consumer_that_is_busy_is_not_taken_for_stalled(
        self, amqp_url: str, topology: Topology, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rabbitmq, "_PROBE_EVERY_S", 0.1)
        monkeypatch.setattr(rabbitmq_consumer, "STALLED_AFTER_S", 0.2)
        async with (
            a_publisher(amqp_url, topology) as publisher,
            a_consumer(amqp_url, topology, prefetch=1) as consumer,
        ):
            await publish_when_possible(publisher, an_event(b"1"))
            await publish_when_possible(publisher, an_event(b"2"))
            [in_hand] = await consumer.receive(1)

            await asyncio.sleep(1)
            await in_hand.ack()
            [second] = await consumer.receive(1)

        assert (second.body, second.attempt) == (b"2", 1)

    async def test_a_cancellation_by_a_dying_channel_does_not_end_reconnecting(
        self, amqp_url: str, topology: Topology, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failures = 2

        async def dying(*arguments: Any) -> bool:
            nonlocal failures
            if failures:
                failures -= 1
                raise asyncio.CancelledError  # what aiormq raises into those who wait on a lost channel
            return await declare_or_check(*arguments)

        monkeypatch.setattr(rabbitmq, "declare_or_check", dying)
        monkeypatch.setattr(rabbitmq, "_FIRST_BACKOFF_S", 0.05)

        async with (
            a_publisher(amqp_url, topology) as publisher,
            a_consumer(amqp_url, topology) as consumer,
        ):
            await publish_when_possible(publisher, an_event(b"1"))

            assert await receive_one(consumer) == b"1"

    async def test_reconnecting_that_ends_cancels_the_body_of_the_context(
        self, amqp_url: str, topology: Topology, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def end(*_: Any) -> None:
            raise RuntimeError("a defect")

        monkeypatch.setattr(rabbitmq, "_reconnect_forever", end)

        with pytest.raises(RuntimeError, match="isoline consumer ended"):
            async with a_consumer(amqp_url, topology):
                await asyncio.sleep(_LIMIT_S)


class TestOperators:
    async def test_the_queues_are_replicated_and_the_submitted_one_limits_its_attempts(
        self, amqp_url: str, topology: Topology
    ) -> None:
        async with a_publisher(amqp_url, topology), open_channel(amqp_url) as channel:
            # A declaration that differs from what is there is refused.
            await channel.declare_queue(
                topology.dead_letter_queue, durable=True, arguments={"x-queue-type": "quorum"}
            )
            await channel.declare_queue(
                topology.submitted_queue,
                durable=True,
                arguments={
                    "x-queue-type": "quorum",
                    "x-dead-letter-exchange": topology.dead_letter_exchange,
                    "x-delivery-limit": 20,
                },
            )

    @pytest.mark.usefixtures("versions")
    async def test_a_consumer_whose_queue_is_deleted_makes_it_again(
        self, amqp_url: str, topology: Topology
    ) -> None:
        async with (
            a_publisher(amqp_url, topology) as publisher,
            a_consumer(amqp_url, topology) as consumer,
        ):
            async with open_channel(amqp_url) as channel:
                await channel.queue_delete(topology.submitted_queue)

            assert isinstance((await publisher.publish([an_event()]))[0], UnroutableError)
            await publish_when_possible(publisher, an_event(b"again"))
            assert await receive_one(consumer) == b"again"

    @pytest.mark.usefixtures("versions")
    async def test_everything_that_is_deleted_is_made_again(self, amqp_url: str, topology: Topology) -> None:
        async with (
            a_publisher(amqp_url, topology) as publisher,
            a_consumer(amqp_url, topology) as consumer,
        ):
            async with open_channel(amqp_url) as channel:
                await channel.exchange_delete(topology.exchange)
                await channel.exchange_delete(topology.dead_letter_exchange)
                await channel.queue_delete(topology.dead_letter_queue)
                await channel.queue_delete(topology.submitted_queue)

            await publish_when_possible(publisher, an_event(b"again"))
            assert await receive_one(consumer) == b"again"

    @pytest.mark.usefixtures("versions")
    async def test_a_queue_that_is_in_the_way_is_waited_for(self, amqp_url: str, topology: Topology) -> None:
        async with open_channel(amqp_url) as channel:
            await channel.declare_queue(topology.submitted_queue, durable=True)

        async with a_publisher(amqp_url, topology) as publisher:
            [outcome] = await publisher.publish([an_event()])
            async with open_channel(amqp_url) as channel:
                await channel.queue_delete(topology.submitted_queue)

            await publish_when_possible(publisher, an_event())

        assert isinstance(outcome, UnavailableError)


async def test_an_attempt_that_failed_leaves_nothing_for_the_garbage_collector_to_close(
    topology: Topology, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "aiormq")  # a record of the failure would hold on to the connection
    gc.collect()  # what others left

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with a_publisher(f"amqp://nobody@127.0.0.1:{free_port()}/", topology):
            pass
        await asyncio.to_thread(gc.collect)  # a thread has no loop to close a connection in

    assert [str(warning.message) for warning in caught] == []


async def test_an_attempt_interrupted_after_the_broker_responded_leaves_no_connection_open(
    amqp_url: str, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    async def never_ready(connection: aiormq.Connection) -> None:
        opened.append(connection)
        await asyncio.Event().wait()

    monkeypatch.setattr(aiormq.Connection, "ready", never_ready)

    async with a_publisher(amqp_url, topology, connect_timeout_s=0.5):
        pass

    assert opened
    await until(lambda: all(connection.is_closed for connection in opened))
