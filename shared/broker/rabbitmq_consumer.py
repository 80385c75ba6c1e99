"""Reading the submitted queue at RabbitMQ."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from shared.broker.rabbitmq import Link, failure_of, keep_connected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

    from shared.broker.rabbitmq import End
    from shared.broker.topology import Topology
    from shared.ports import Delivery

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def open_rabbitmq_consumer(
    url: str, *, topology: Topology, prefetch: int, connect_timeout_s: float = 10.0
) -> AsyncIterator[RabbitmqConsumer]:
    """Open a consumer, whether or not the broker is there: it connects as soon as that is possible.

    What is unsettled at the end goes back to the queue.

    Args:
        url: Where the broker is, ``amqp://`` or ``amqps://``.
        topology: What is declared there, whenever it connects.
        prefetch: How many deliveries may be unsettled at any time.
        connect_timeout_s: How long one attempt to connect may take, and so this opening too.
    """
    link = Link(url=url, name="isoline consumer", topology=topology, connect_timeout_s=connect_timeout_s)
    consumer = RabbitmqConsumer(topology.submitted_queue, prefetch=prefetch)
    async with keep_connected(link, consumer.attach):
        yield consumer


class RabbitmqConsumer:
    """A `shared.ports.Consumer`."""

    def __init__(self, queue: str, *, prefetch: int) -> None:
        self._name = queue
        self._prefetch = prefetch
        self._arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue(prefetch)
        self._is_connected = False

    @property
    def is_connected(self) -> bool:
        """Whether deliveries can come now."""
        return self._is_connected

    @asynccontextmanager
    async def attach(self, channel: AbstractChannel, end: End) -> AsyncIterator[None]:
        """Consume on this channel until the broker ends that, as it does when the queue is deleted."""
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda _: end("the broker ended the consumer"))
        await channel.set_qos(prefetch_count=self._prefetch)
        queue = await channel.get_queue(self._name, ensure=False)
        # A handler would be cancelled with its channel, so this one only puts the message down.
        await queue.consume(self._arrived.put)
        self._is_connected = True
        try:
            yield
        finally:
            self._is_connected = False

    async def receive(self, limit: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        while not deliveries:
            arrived = [await self._arrived.get()]
            while len(arrived) < limit and not self._arrived.empty():
                arrived.append(self._arrived.get_nowait())
            deliveries = [RabbitmqDelivery(message) for message in arrived if _is_live(message)]
        return deliveries


class RabbitmqDelivery:
    """A `shared.ports.Delivery`."""

    def __init__(self, message: AbstractIncomingMessage) -> None:
        self._message = message

    @property
    def body(self) -> bytes:
        return self._message.body

    @property
    def attempt(self) -> int:
        returns = self._message.headers.get("x-delivery-count")
        known = returns if isinstance(returns, int) else 0
        return 1 + max(known, int(self._message.redelivered or 0))

    async def ack(self) -> None:
        await _end(self._message.ack())

    async def requeue(self) -> None:
        # Not nack, which RabbitMQ 4.3 no longer counts as an attempt.
        await _end(self._message.reject(requeue=True))

    async def dead_letter(self) -> None:
        await _end(self._message.reject(requeue=False))


def _is_live(message: AbstractIncomingMessage) -> bool:
    """Whether the delivery can still be ended; when its channel is gone, the message comes again."""
    try:
        return bool(message.channel)
    except RuntimeError:
        return False


async def _end(ending: Awaitable[None]) -> None:
    failure = await failure_of(ending)
    if failure is not None:
        _log.debug("delivery not ended, it comes again", error=repr(failure))
