"""The contract of `shared.ports.broker`, tested on both brokers, and on RabbitMQ without aiormq's inside."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack
from itertools import count
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from shared.broker.topology import Topology
from shared.domain.errors import UnavailableError, UnroutableError
from shared.events import Event, EventType
from tests.contracts.brokers import InProcessUnderTest, RabbitmqUnderTest
from tests.support.servers.folders import server_folder
from tests.support.servers.rabbitmq_server import open_rabbitmq_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.ports.broker import Consumer, Delivery, Publisher
    from tests.contracts.brokers import BrokerUnderTest
    from tests.support.servers.rabbitmq_server import RabbitmqServer

_LIMIT_S = 30
_RESTART_LIMIT_S = 90
_BROKERS = ["in_process", "rabbitmq", "rabbitmq_one_by_one"]


@pytest.fixture(params=_BROKERS)
def broker(request: pytest.FixtureRequest) -> BrokerUnderTest:
    if request.param == "in_process":
        return InProcessUnderTest()
    if request.param == "rabbitmq_one_by_one":
        request.getfixturevalue("one_by_one")
    return RabbitmqUnderTest(request.getfixturevalue("amqp_url"), request.getfixturevalue("topology"))


@pytest.fixture(scope="module")
async def own_server() -> AsyncIterator[RabbitmqServer]:
    """A node to stop and start; the one that the other tests use is not ours to stop."""
    with server_folder() as folder:
        async with open_rabbitmq_server(folder) as server:
            yield server


@pytest.fixture(params=_BROKERS)
def mortal_broker(request: pytest.FixtureRequest) -> BrokerUnderTest:
    if request.param == "in_process":
        return InProcessUnderTest()
    if request.param == "rabbitmq_one_by_one":
        request.getfixturevalue("one_by_one")
    server = request.getfixturevalue("own_server")
    topology = Topology(namespace=f"test-{secrets.token_hex(4)}-")
    return RabbitmqUnderTest(server.amqp_url, topology, server)


def an_event(body: bytes = b"{}", type_: EventType = EventType.SUBMITTED) -> Event:
    return Event(uuid4(), type_, body)


async def publish(publisher: Publisher, *bodies: bytes) -> None:
    async with asyncio.timeout(_LIMIT_S):
        assert await publisher.publish(list(map(an_event, bodies))) == [None] * len(bodies)


async def publish_when_back(publisher: Publisher, body: bytes) -> None:
    async with asyncio.timeout(_LIMIT_S):
        while await publisher.publish([an_event(body)]) != [None]:
            await asyncio.sleep(0.05)


async def publish_until_unavailable(
    publisher: Publisher, confirmed: set[bytes], begun: asyncio.Event
) -> None:
    for number in count():
        sent = [an_event(b"%d-%d" % (number, part)) for part in range(10)]
        outcomes = await publisher.publish(sent)
        pairs = zip(sent, outcomes, strict=True)
        confirmed.update(event.body for event, outcome in pairs if outcome is None)
        if any(outcomes):
            assert set(kinds_of(outcomes)) <= {UnavailableError, type(None)}
            return
        begun.set()
        await asyncio.sleep(0)


async def receive(consumer: Consumer, number: int) -> list[Delivery]:
    """Exactly so many deliveries, in however many portions they come."""
    deliveries: list[Delivery] = []
    async with asyncio.timeout(_LIMIT_S):
        while len(deliveries) < number:
            deliveries += await consumer.receive(number - len(deliveries))
    return deliveries


async def receive_and_ack(consumer: Consumer, number: int) -> list[bytes]:
    deliveries = await receive(consumer, number)
    for delivery in deliveries:
        await delivery.ack()
    return bodies_of(deliveries)


def bodies_of(deliveries: list[Delivery]) -> list[bytes]:
    return [delivery.body for delivery in deliveries]


def kinds_of(outcomes: list[UnroutableError | UnavailableError | None]) -> list[type]:
    return [type(outcome) for outcome in outcomes]


class TestPublishing:
    async def test_what_is_published_arrives_byte_for_byte(self, broker: BrokerUnderTest) -> None:
        sent = [b"", b"{}", bytes(range(256)), "\u00e9\U0001f494".encode(), b"x" * 300_000]

        async with broker.publisher() as publisher, broker.consumer() as consumer:
            await publish(publisher, *sent)
            received = await receive_and_ack(consumer, len(sent))

        assert sorted(received) == sorted(sent)

    async def test_a_message_goes_to_each_queue_that_is_bound_to_its_type(
        self, broker: BrokerUnderTest
    ) -> None:
        await broker.bind("sub.all", *EventType)
        await broker.bind("sub.ends", EventType.PROCESSED, EventType.FAILED)

        async with broker.publisher() as publisher:
            for type_ in EventType:
                assert await publisher.publish([an_event(type_.encode(), type_)]) == [None]

        assert await broker.bodies("sub.all", 4) == [type_.encode() for type_ in EventType]
        assert await broker.bodies("sub.ends", 2) == [b"ecg.processed", b"ecg.failed"]

    async def test_messages_wait_for_a_consumer(self, broker: BrokerUnderTest) -> None:
        async with broker.publisher() as publisher:
            await publish(publisher, b"early")

        async with broker.consumer() as consumer:
            assert await receive_and_ack(consumer, 1) == [b"early"]

    async def test_no_events_have_no_outcomes(self, broker: BrokerUnderTest) -> None:
        async with broker.publisher() as publisher:
            assert await publisher.publish([]) == []

    async def test_four_unroutable_events_at_once_are_each_reported(self, broker: BrokerUnderTest) -> None:
        unrouted = [an_event(type_=EventType.FAILED)] * 4

        async with broker.publisher() as publisher, asyncio.timeout(_LIMIT_S):
            outcomes = await publisher.publish(unrouted)

        assert kinds_of(outcomes) == [UnroutableError] * 4

    async def test_outcomes_stand_in_the_order_of_their_events(self, broker: BrokerUnderTest) -> None:
        mixed = [an_event(type_=type_) for type_ in (EventType.SUBMITTED, EventType.DELETED) * 3]

        async with broker.publisher() as publisher, asyncio.timeout(_LIMIT_S):
            outcomes = await publisher.publish(mixed)

        assert kinds_of(outcomes) == [type(None), UnroutableError] * 3

    async def test_more_events_than_may_be_unconfirmed_all_arrive(self, broker: BrokerUnderTest) -> None:
        sent = [b"%d" % number for number in range(600)]

        async with broker.publisher() as publisher, broker.consumer(prefetch=600) as consumer:
            await publish(publisher, *sent)
            received = await receive_and_ack(consumer, len(sent))

        assert sorted(received) == sorted(sent)

    async def test_a_cancelled_publish_leaves_the_publisher_usable(self, broker: BrokerUnderTest) -> None:
        unsure = [an_event(b"unsure")] * 50

        async with broker.publisher() as publisher, broker.consumer() as consumer:
            for _ in range(5):
                publishing = asyncio.create_task(publisher.publish(unsure))
                await asyncio.sleep(0)
                publishing.cancel()
                done, _ = await asyncio.wait([publishing], timeout=_LIMIT_S)
                assert done
            await publish(publisher, b"sure")

            while await receive_and_ack(consumer, 1) != [b"sure"]:
                pass


class TestReceiving:
    async def test_a_portion_is_no_larger_than_asked_for_and_the_oldest_come_first(
        self, broker: BrokerUnderTest
    ) -> None:
        async with broker.publisher() as publisher:
            for body in (b"1", b"2", b"3", b"4", b"5"):
                await publish(publisher, body)

        async with broker.consumer() as consumer, asyncio.timeout(_LIMIT_S):
            portions: list[list[bytes]] = []
            while sum(map(len, portions)) < 5:
                portions.append(bodies_of(await consumer.receive(2)))

        assert all(1 <= len(portion) <= 2 for portion in portions)
        assert sum(portions, []) == [b"1", b"2", b"3", b"4", b"5"]  # noqa: RUF017 - it is short

    async def test_receiving_waits_for_a_message(self, broker: BrokerUnderTest) -> None:
        async with broker.publisher() as publisher, broker.consumer() as consumer:
            waiting = asyncio.create_task(receive_and_ack(consumer, 1))
            await publish(publisher, b"late")

            assert await waiting == [b"late"]

    async def test_a_cancelled_wait_loses_nothing(self, broker: BrokerUnderTest) -> None:
        async with broker.publisher() as publisher, broker.consumer() as consumer:
            for number in range(20):
                waiting = asyncio.create_task(consumer.receive(1))
                await publish(publisher, b"%d" % number)
                waiting.cancel()
                [outcome] = await asyncio.gather(waiting, return_exceptions=True)
                missing = 1 if isinstance(outcome, BaseException) else 0

                received = await receive(consumer, missing)

                assert bodies_of(received or outcome) == [b"%d" % number]  # type: ignore[arg-type]

    async def test_a_paused_consumer_receives_nothing_and_returns_prefetched_deliveries(
        self, broker: BrokerUnderTest
    ) -> None:
        async with (
            broker.publisher() as publisher,
            broker.consumer() as paused,
            broker.consumer() as other,
        ):
            for number in range(4):
                await publish(publisher, b"%d" % number)
            [unsettled] = await receive(paused, 1)

            for unread in await paused.pause():
                await unread.requeue()
            await unsettled.ack()
            await publish(publisher, b"4")

            rest = bodies_of(await receive(other, 4))
            waiting = asyncio.create_task(paused.receive(1))
            done, _ = await asyncio.wait([waiting], timeout=0.3)
            waiting.cancel()

        assert sorted([unsettled.body, *rest]) == [b"0", b"1", b"2", b"3", b"4"]
        assert not done

    async def test_a_resumed_consumer_receives_queued_and_new_messages(self, broker: BrokerUnderTest) -> None:
        async with broker.publisher() as publisher, broker.consumer() as consumer:
            for _ in range(2):  # asking twice changes nothing
                assert await consumer.pause() == []
            await publish(publisher, b"waited")
            for _ in range(2):
                await consumer.resume()

            waited = await receive_and_ack(consumer, 1)
            await publish(publisher, b"new")

            assert waited + await receive_and_ack(consumer, 1) == [b"waited", b"new"]

    async def test_the_last_of_pause_and_resume_wins(self, broker: BrokerUnderTest) -> None:
        async with broker.publisher() as publisher, broker.consumer() as consumer:
            asked = [consumer.pause(), consumer.resume(), consumer.pause(), consumer.resume()]
            await asyncio.gather(*asked)
            await publish(publisher, b"1")

            assert await receive_and_ack(consumer, 1) == [b"1"]

    async def test_no_more_than_the_prefetch_is_unsettled(self, broker: BrokerUnderTest) -> None:
        async with broker.publisher() as publisher, broker.consumer(prefetch=2) as consumer:
            await publish(publisher, b"1")
            await publish(publisher, b"2")
            await publish(publisher, b"3")
            first, second = await receive(consumer, 2)
            third = asyncio.create_task(receive(consumer, 1))

            done, _ = await asyncio.wait([third], timeout=0.3)
            assert not done

            await second.ack()
            assert bodies_of(await third) == [b"3"]
            await first.ack()

    async def test_a_smaller_prefetch_leaves_what_is_unsettled_and_bounds_what_comes(
        self, broker: BrokerUnderTest
    ) -> None:
        async with (
            broker.publisher() as publisher,
            broker.consumer(prefetch=3) as consumer,
        ):
            await publish(publisher, b"1", b"2", b"3")
            held = await receive(consumer, 3)
            await consumer.set_prefetch(1)
            for delivery in held:
                await delivery.ack()
            await publish(publisher, b"4", b"5")

            [fourth] = await receive(consumer, 1)
            fifth = asyncio.create_task(receive(consumer, 1))
            done, _ = await asyncio.wait([fifth], timeout=0.3)
            await fourth.ack()

            assert not done
            assert bodies_of([fourth, *await fifth]) == [b"4", b"5"]

    async def test_a_larger_prefetch_lets_more_come(self, broker: BrokerUnderTest) -> None:
        async with broker.publisher() as publisher, broker.consumer(prefetch=1) as consumer:
            await publish(publisher, b"1", b"2", b"3", b"4")
            [first] = await receive(consumer, 1)

            await consumer.set_prefetch(10)

            rest = await receive(consumer, 3)
            assert sorted(bodies_of([first, *rest])) == [b"1", b"2", b"3", b"4"]
            for delivery in (first, *rest):
                await delivery.ack()

    async def test_a_prefetch_that_is_set_does_not_resume_a_paused_consumer(
        self, broker: BrokerUnderTest
    ) -> None:
        async with broker.publisher() as publisher, broker.consumer(prefetch=1) as consumer:
            await consumer.pause()
            await consumer.set_prefetch(2)
            await publish(publisher, b"1", b"2")
            receiving = asyncio.create_task(receive(consumer, 2))
            done, _ = await asyncio.wait([receiving], timeout=0.3)

            await consumer.resume()

            assert not done
            assert sorted(bodies_of(await receiving)) == [b"1", b"2"]

    async def test_of_two_consumers_each_message_goes_to_one(self, broker: BrokerUnderTest) -> None:
        sent = [b"%d" % number for number in range(10)]

        async with (
            broker.publisher() as publisher,
            broker.consumer(prefetch=5) as one,
            broker.consumer(prefetch=5) as other,
        ):
            await publish(publisher, *sent)
            ones, others = await asyncio.gather(receive(one, 5), receive(other, 5))

        assert sorted(bodies_of(ones) + bodies_of(others)) == sorted(sent)


class TestSettlingADelivery:
    async def test_acked_never_comes_again(self, broker: BrokerUnderTest) -> None:
        async with broker.publisher() as publisher:
            async with broker.consumer() as consumer:
                await publish(publisher, b"acked")
                await receive_and_ack(consumer, 1)

            async with broker.consumer() as consumer:
                await publish(publisher, b"next")
                assert await receive_and_ack(consumer, 1) == [b"next"]

    async def test_requeued_comes_again_and_attempts_are_counted(self, broker: BrokerUnderTest) -> None:
        async with broker.publisher() as publisher, broker.consumer() as consumer:
            await publish(publisher, b"again")
            attempts = []
            for _ in range(3):
                [delivery] = await receive(consumer, 1)
                attempts.append(delivery.attempt)
                await delivery.requeue()

        assert attempts == [1, 2, 3]

    async def test_dead_lettered_is_put_aside_and_never_comes_again(self, broker: BrokerUnderTest) -> None:
        async with broker.publisher() as publisher, broker.consumer() as consumer:
            await publish(publisher, b"poison")
            [delivery] = await receive(consumer, 1)
            await delivery.dead_letter()
            await publish(publisher, b"next")

            assert await receive_and_ack(consumer, 1) == [b"next"]

        async with asyncio.timeout(_LIMIT_S):
            assert await broker.dead_letters(1) == [b"poison"]

    async def test_a_second_ending_has_no_effect(self, broker: BrokerUnderTest) -> None:
        async with broker.publisher() as publisher, broker.consumer() as consumer:
            await publish(publisher, b"once")
            [delivery] = await receive(consumer, 1)
            await delivery.ack()

            await delivery.requeue()
            await delivery.dead_letter()
            await delivery.ack()

            await publish(publisher, b"next")
            assert await receive_and_ack(consumer, 1) == [b"next"]

    async def test_unsettled_comes_again_before_what_is_younger_when_its_consumer_closes(
        self, broker: BrokerUnderTest
    ) -> None:
        async with broker.publisher() as publisher:
            async with broker.consumer(prefetch=2) as consumer:
                for body in (b"1", b"2", b"3"):
                    await publish(publisher, body)
                await receive(consumer, 2)

            async with broker.consumer() as consumer:
                deliveries = await receive(consumer, 3)

        again = [(delivery.body, delivery.attempt) for delivery in deliveries]
        assert again == [(b"1", 2), (b"2", 2), (b"3", 1)]

    async def test_ending_a_delivery_of_a_closed_consumer_is_no_error_and_it_comes_again(
        self, broker: BrokerUnderTest
    ) -> None:
        async with broker.publisher() as publisher:
            async with broker.consumer() as consumer:
                await publish(publisher, b"1")
                await publish(publisher, b"2")
                await publish(publisher, b"3")
                stale = await receive(consumer, 3)

            async with asyncio.timeout(_LIMIT_S):
                await stale[0].ack()
                await stale[1].requeue()
                await stale[2].dead_letter()

            async with broker.consumer() as consumer:
                assert sorted(await receive_and_ack(consumer, 3)) == [b"1", b"2", b"3"]


class TestAnUnavailableBroker:
    async def test_only_what_was_acked_is_gone_after_a_restart(self, mortal_broker: BrokerUnderTest) -> None:
        async with mortal_broker.publisher() as publisher, mortal_broker.consumer(prefetch=2) as consumer:
            for body in (b"acked", b"unsettled", b"waiting"):
                await publish(publisher, body)
            acked, unsettled = await receive(consumer, 2)
            await acked.ack()

            await mortal_broker.stop()
            await unsettled.ack()
            returning = asyncio.create_task(receive(consumer, 2))
            await asyncio.sleep(0)  # it waits
            await mortal_broker.start()
            returned = await returning

        assert sorted(bodies_of(returned)) == [b"unsettled", b"waiting"]
        assert {delivery.attempt for delivery in returned if delivery.body == b"unsettled"} == {2}

    async def test_a_consumer_stays_paused_while_it_comes_back(self, mortal_broker: BrokerUnderTest) -> None:
        async with mortal_broker.publisher() as publisher, mortal_broker.consumer() as paused:
            await paused.pause()
            await mortal_broker.stop()
            await mortal_broker.start()
            await publish_when_back(publisher, b"1")

            async with mortal_broker.consumer() as other:
                assert await receive_and_ack(other, 1) == [b"1"]
            await publish(publisher, b"2")
            waiting = asyncio.create_task(receive_and_ack(paused, 1))
            done, _ = await asyncio.wait([waiting], timeout=0.3)
            await paused.resume()

            assert not done
            assert await waiting == [b"2"]

    async def test_publishing_is_unavailable_at_once_and_works_again_when_it_is_back(
        self, mortal_broker: BrokerUnderTest
    ) -> None:
        async with mortal_broker.publisher() as publisher, mortal_broker.consumer() as consumer:
            await publish(publisher, b"before")
            await mortal_broker.stop()

            async with asyncio.timeout(1):
                outcomes = await publisher.publish([an_event(b"lost"), an_event(b"lost")])
            assert kinds_of(outcomes) == [UnavailableError] * 2

            await mortal_broker.start()
            await publish_when_back(publisher, b"after")
            assert set(await receive_and_ack(consumer, 2)) == {b"before", b"after"}

    async def test_publisher_and_consumer_may_be_opened_before_it_is_there(
        self, mortal_broker: BrokerUnderTest
    ) -> None:
        await mortal_broker.stop()

        async with asyncio.timeout(_RESTART_LIMIT_S):
            async with mortal_broker.publisher() as publisher, mortal_broker.consumer() as consumer:
                async with asyncio.timeout(1):
                    assert kinds_of(await publisher.publish([an_event()])) == [UnavailableError]

                await mortal_broker.start()
                await publish_when_back(publisher, b"first")
                assert await receive_and_ack(consumer, 1) == [b"first"]

    async def test_publishers_and_consumers_close_while_the_broker_is_unavailable(
        self, mortal_broker: BrokerUnderTest
    ) -> None:
        async with AsyncExitStack() as opened:
            await opened.enter_async_context(mortal_broker.publisher())
            await opened.enter_async_context(mortal_broker.consumer())
            await mortal_broker.stop()

            async with asyncio.timeout(5):
                await opened.aclose()

        await mortal_broker.start()

    async def test_nothing_confirmed_is_lost_when_the_broker_stops_in_the_middle(
        self, mortal_broker: BrokerUnderTest
    ) -> None:
        async with asyncio.timeout(_RESTART_LIMIT_S), mortal_broker.publisher() as publisher:
            confirmed: set[bytes] = set()
            begun = asyncio.Event()
            publishing = asyncio.create_task(publish_until_unavailable(publisher, confirmed, begun))
            await begun.wait()
            await mortal_broker.stop()
            await publishing
            await mortal_broker.start()

            async with mortal_broker.consumer() as consumer:
                while confirmed:
                    confirmed.difference_update(await receive_and_ack(consumer, 1))
