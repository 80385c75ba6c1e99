"""Both brokers for the contract tests: publisher and consumer, and the view of subscribers and operators."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import aio_pika

from shared.broker.in_process import InProcessBroker
from shared.broker.rabbitmq.consumer import open_rabbitmq_consumer
from shared.broker.rabbitmq.publisher import open_rabbitmq_publisher
from shared.broker.topology import Topology
from shared.events import EventType

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from aio_pika.abc import AbstractChannel

    from shared.ports.broker import Consumer, Publisher
    from tests.support.servers.rabbitmq_server import RabbitmqServer

_LIMIT_S: Final = 30

_Opened = TypeVar("_Opened")


class BrokerUnderTest(Protocol):
    """A broker of either kind."""

    def publisher(self) -> AbstractAsyncContextManager[Publisher]:
        """A publisher that lasts as long as the context."""

    def consumer(self, *, prefetch: int = 100) -> AbstractAsyncContextManager[Consumer]:
        """A consumer of the submitted queue that lasts as long as the context."""

    async def bind(self, queue: str, *types: EventType) -> None:
        """Give a subscriber a queue."""

    async def bodies(self, queue: str, count: int) -> list[bytes]:
        """Wait for so many messages in a subscriber's queue, and take them."""

    async def dead_letters(self, count: int) -> list[bytes]:
        """Wait for so many messages in the dead-letter queue, and take them."""

    async def stop(self) -> None:
        """Stop the broker."""

    async def start(self) -> None:
        """Start the broker again."""


class InProcessUnderTest:
    """The in-process broker."""

    def __init__(self) -> None:
        self._queue = Topology().submitted_queue
        self._broker = InProcessBroker()
        self._broker.bind(self._queue, EventType.SUBMITTED)

    @asynccontextmanager
    async def publisher(self) -> AsyncIterator[Publisher]:
        yield self._broker.publisher()

    def consumer(self, *, prefetch: int = 100) -> AbstractAsyncContextManager[Consumer]:
        return self._broker.consumer(self._queue, prefetch=prefetch)

    async def bind(self, queue: str, *types: EventType) -> None:
        self._broker.bind(queue, *types)

    async def bodies(self, queue: str, count: int) -> list[bytes]:
        async with self._broker.consumer(queue, prefetch=count) as consumer:
            deliveries = await consumer.receive(count)
            for delivery in deliveries:
                await delivery.ack()
        return [delivery.body for delivery in deliveries]

    async def dead_letters(self, count: int) -> list[bytes]:
        return self._broker.dead_letters(self._queue)[:count]

    async def stop(self) -> None:
        self._broker.disconnect()

    async def start(self) -> None:
        self._broker.reconnect()


class RabbitmqUnderTest:
    """RabbitMQ, which can be stopped only if the node is the test's own."""

    def __init__(self, url: str, topology: Topology, server: RabbitmqServer | None = None) -> None:
        self.url = url
        self.topology = topology
        self._server = server

    def publisher(self) -> AbstractAsyncContextManager[Publisher]:
        return promptly(open_rabbitmq_publisher(self.url, topology=self.topology))

    def consumer(self, *, prefetch: int = 100) -> AbstractAsyncContextManager[Consumer]:
        return promptly(open_rabbitmq_consumer(self.url, topology=self.topology, prefetch=prefetch))

    async def bind(self, queue: str, *types: EventType) -> None:
        async with open_channel(self.url) as channel:
            name = self.topology.exchange
            exchange = await channel.declare_exchange(name, aio_pika.ExchangeType.TOPIC, durable=True)
            declared = await channel.declare_queue(
                self._own(queue),
                durable=True,
                arguments={"x-expires": 60_000},  # the queue is not deleted
            )
            for type_ in types:
                await declared.bind(exchange, type_)

    async def bodies(self, queue: str, count: int) -> list[bytes]:
        return await self._take(self._own(queue), count)

    async def dead_letters(self, count: int) -> list[bytes]:
        return await self._take(self.topology.dead_letter_queue, count)

    async def stop(self) -> None:
        assert self._server is not None
        await self._server.stop()

    async def start(self) -> None:
        assert self._server is not None
        await self._server.start()

    def _own(self, queue: str) -> str:
        return self.topology.namespace + queue

    async def _take(self, queue: str, count: int) -> list[bytes]:
        bodies: list[bytes] = []
        async with asyncio.timeout(_LIMIT_S), open_channel(self.url) as channel:
            await channel.set_qos(prefetch_count=count)
            declared = await channel.get_queue(queue, ensure=False)
            async with declared.iterator() as messages:
                while len(bodies) < count:
                    message = await anext(messages)
                    bodies.append(message.body)
                    await message.ack()
        return bodies


@asynccontextmanager
async def promptly(context: AbstractAsyncContextManager[_Opened]) -> AsyncIterator[_Opened]:
    """The same context, which fails when it takes too long to open or to close."""
    stack = AsyncExitStack()
    async with asyncio.timeout(_LIMIT_S):
        opened = await stack.enter_async_context(context)
    try:
        yield opened
    finally:
        async with asyncio.timeout(_LIMIT_S):
            await stack.aclose()


@asynccontextmanager
async def open_channel(url: str) -> AsyncIterator[AbstractChannel]:
    """A channel to look at RabbitMQ with."""
    async with await aio_pika.connect(url, timeout=10) as connection:
        yield await connection.channel()
