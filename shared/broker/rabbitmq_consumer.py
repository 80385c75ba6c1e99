"""Reading the submitted queue at RabbitMQ."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from shared.broker.rabbitmq import Link, keep_connected
from shared.supervision import failure_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

    from shared.broker.rabbitmq import End, Look
    from shared.broker.topology import Topology
    from shared.ports import Delivery

# Longer than a quorum queue takes to elect a leader.
DEAF_AFTER_S: Final = 10.0
_CANCEL_WITHIN_S: Final = 3.0

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
        self._arrived: asyncio.Queue[RabbitmqDelivery] = asyncio.Queue(prefetch)
        self._hearing: _Hearing | None = None
        self._is_stopped = False

    @property
    def is_connected(self) -> bool:
        """Whether deliveries can come now."""
        return self._hearing is not None

    @asynccontextmanager
    async def attach(self, channel: AbstractChannel, end: End) -> AsyncIterator[Look]:
        """Consume on this channel until the broker ends that, as it does when the queue is deleted."""
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda _: end("the broker ended the consumer"))
        await channel.set_qos(prefetch_count=self._prefetch)
        hearing = _Hearing(await channel.get_queue(self._name, ensure=False), self._prefetch)
        if not self._is_stopped:
            # A handler would be cancelled with its channel, so this one only puts the message down.
            hearing.tag = await hearing.queue.consume(partial(self._put, hearing))
        self._hearing = hearing
        try:
            yield partial(_look, channel, hearing)
        finally:
            self._hearing = None

    async def _put(self, hearing: _Hearing, message: AbstractIncomingMessage) -> None:
        hearing.unsettled += 1
        hearing.last_s = time.monotonic()
        await self._arrived.put(RabbitmqDelivery(message, hearing))

    async def stop(self) -> None:
        self._is_stopped = True
        if self._hearing is not None and self._hearing.tag is not None:
            await failure_of(self._hearing.queue.cancel(self._hearing.tag, timeout=_CANCEL_WITHIN_S))
            self._hearing.tag = None
        while not self._arrived.empty():
            await self._arrived.get_nowait().requeue()

    async def receive(self, limit: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        while not deliveries:
            arrived = [await self._arrived.get()]
            while len(arrived) < limit and not self._arrived.empty():
                arrived.append(self._arrived.get_nowait())
            deliveries = [delivery for delivery in arrived if delivery.is_live]
        return deliveries


class _Hearing:
    """What one channel's consumer has heard."""

    def __init__(self, queue: AbstractQueue, prefetch: int) -> None:
        self.queue = queue
        self.prefetch = prefetch
        self.tag: str | None = None
        self.unsettled = 0
        self.last_s = time.monotonic()


class RabbitmqDelivery:
    """A `shared.ports.Delivery`."""

    def __init__(self, message: AbstractIncomingMessage, hearing: _Hearing) -> None:
        self._message = message
        self._hearing = hearing

    @property
    def is_live(self) -> bool:
        """Whether it can still be ended; when its channel is gone, the message comes again."""
        try:
            return bool(self._message.channel)
        except RuntimeError:
            return False

    @property
    def body(self) -> bytes:
        return self._message.body

    @property
    def attempt(self) -> int:
        returns = self._message.headers.get("x-delivery-count")
        known = returns if isinstance(returns, int) else 0
        return 1 + max(known, int(self._message.redelivered or 0))

    async def ack(self) -> None:
        await self._end(self._message.ack())

    async def requeue(self) -> None:
        # Not nack, which RabbitMQ 4.3 no longer counts as an attempt.
        await self._end(self._message.reject(requeue=True))

    async def dead_letter(self) -> None:
        await self._end(self._message.reject(requeue=False))

    async def _end(self, ending: Awaitable[None]) -> None:
        self._hearing.unsettled -= 1
        failure = await failure_of(ending)
        if failure is not None:
            _log.debug("delivery not ended, it comes again", error=repr(failure))


async def _look(channel: AbstractChannel, hearing: _Hearing) -> None:
    """Ask the broker how many messages wait, which also shows whether it still answers.

    Raises:
        ConnectionError: Messages wait, there is room for them, and none has come for too long.
    """
    declared = await channel.declare_queue(hearing.queue.name, passive=True)
    waiting = declared.declaration_result.message_count or 0
    silent_s = time.monotonic() - hearing.last_s
    is_listening = hearing.tag is not None and hearing.unsettled < hearing.prefetch
    if waiting and is_listening and silent_s > DEAF_AFTER_S:
        raise ConnectionError(f"deaf: {waiting} messages wait and none has come for {silent_s:.0f} s")
