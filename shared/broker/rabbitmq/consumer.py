"""Reading the submitted queue at RabbitMQ."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from pamqp.frame import marshal

from shared.broker.rabbitmq.acknowledgements import Ending, Endings
from shared.broker.rabbitmq.aiormq_internals import is_proven, write
from shared.broker.rabbitmq.connection import Link, keep_connected
from shared.broker.rabbitmq.connection_state import Standing
from shared.broker.rabbitmq.one_by_one import AcknowledgeOneByOne
from shared.broker.rabbitmq.refusals import words_of
from shared.domain.errors import UnavailableError
from shared.runtime.supervision import failure_of, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from aio_pika.abc import AbstractChannel
    from aiormq.abc import AbstractChannel as UnderlayChannel
    from aiormq.abc import DeliveredMessage

    from shared.broker.rabbitmq.connection import End, Look
    from shared.broker.topology import Topology
    from shared.ports.broker import Delivery

_NAME: Final = "isoline consumer"
# Longer than a quorum queue takes to elect a leader.
DEAF_AFTER_S: Final = 10.0
# By `asyncio.timeout` and not as aiormq's own limits: on Python 3.11 its `asyncio.wait_for` loses a
# cancellation that comes together with the answer.
_CANCEL_WITHIN_S: Final = 3.0
_CONSUME_WITHIN_S: Final = 10.0
_LAST_WORD_WITHIN_S: Final = 1.0


@asynccontextmanager
async def open_rabbitmq_consumer(
    url: str,
    *,
    topology: Topology,
    prefetch: int,
    is_paused: bool = False,
    connect_timeout_s: float = 10.0,
) -> AsyncIterator[RabbitmqConsumer]:
    """Open a consumer, whether or not the broker is there: it connects as soon as that is possible.

    What is unsettled at the end goes back to the queue.

    Args:
        url: Where the broker is, ``amqp://`` or ``amqps://``; or its nodes, with commas between them.
        topology: What is declared there, whenever it connects.
        prefetch: How many deliveries may be unsettled at any time.
        is_paused: Whether it takes nothing until it is resumed.
        connect_timeout_s: How long one attempt to connect may take, and so this opening too.
    """
    standing = Standing(_NAME)
    consumer = RabbitmqConsumer(
        topology.submitted_queue, prefetch=prefetch, is_paused=is_paused, standing=standing
    )
    link = Link(
        url=url, name=_NAME, topology=topology, connect_timeout_s=connect_timeout_s, standing=standing
    )
    async with keep_connected(link, consumer.attach):
        yield consumer


class RabbitmqConsumer:
    """A `shared.ports.broker.Consumer`."""

    def __init__(self, queue: str, *, prefetch: int, is_paused: bool, standing: Standing) -> None:
        self._name = queue
        self._standing = standing
        self._prefetch = prefetch
        self._arrived: asyncio.Queue[RabbitmqDelivery] = asyncio.Queue(prefetch)
        self._hearing: _Hearing | None = None
        self._is_paused = is_paused
        self._switching = asyncio.Lock()

    @property
    def is_connected(self) -> bool:
        """Whether deliveries can come now, unless it is paused."""
        return self._hearing is not None

    async def check(self) -> None:
        """Return if deliveries can come.

        Raises:
            UnavailableError: They can't, for this reason.
        """
        if self._hearing is None:
            raise UnavailableError(f"RabbitMQ: {self._standing.reason or 'the connection was lost'}")

    @asynccontextmanager
    async def attach(self, channel: AbstractChannel, end: End) -> AsyncIterator[Look]:
        """Consume on this channel until the broker ends that, as it does when the queue is deleted."""
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda _: end("the broker ended the consumer"))
        await channel.set_qos(prefetch_count=self._prefetch)
        async with _open_hearing(underlay, self._prefetch, end) as hearing:
            self._hearing = hearing
            try:
                await self._switch(hearing)
                yield partial(_look, channel, self._name, hearing)
            finally:
                self._hearing = None

    async def _put(self, hearing: _Hearing, message: DeliveredMessage) -> None:
        delivery = RabbitmqDelivery(message, hearing)
        hearing.begin(delivery.tag)
        await self._arrived.put(delivery)

    async def pause(self) -> list[Delivery]:
        self._is_paused = True
        await self._switch_or_end()
        unheard = [self._arrived.get_nowait() for _ in range(self._arrived.qsize())]
        return [delivery for delivery in unheard if delivery.is_live]

    async def resume(self) -> None:
        self._is_paused = False
        await self._switch_or_end()

    async def _switch_or_end(self) -> None:
        """Switch the channel that there is; one that can't be is ended, and the next begins right."""
        if self._hearing is not None:
            hearing = self._hearing
            failure = await failure_of(self._switch(hearing))
            if failure is not None:
                hearing.end_channel(words_of(failure))

    async def _switch(self, hearing: _Hearing) -> None:
        """Have this channel consume, or not, as was asked for last."""
        async with self._switching:
            if self._is_paused:
                await hearing.stop()
            else:
                # A handler would be cancelled with its channel, so this one only puts the message down.
                await hearing.start(self._name, partial(self._put, hearing))

    async def receive(self, limit: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        while not deliveries:
            arrived = [await self._arrived.get()]
            while len(arrived) < limit and not self._arrived.empty():
                arrived.append(self._arrived.get_nowait())
            deliveries = [delivery for delivery in arrived if delivery.is_live]
        return deliveries


class _Hearing:
    """What one channel's consumer has heard, and what it has to say of that.

    What is said at the same time goes into one write.
    """

    def __init__(self, channel: UnderlayChannel, prefetch: int, end: End) -> None:
        self.consumer_tag: str | None = None
        self.is_over = False
        self._channel = channel
        self.end_channel = end
        self._prefetch = prefetch
        self._silent_since_s = time.monotonic()
        self._endings = Endings()
        self._has_endings = asyncio.Event()
        self._told = asyncio.Event()
        self._send = partial(_send_together, channel) if is_proven() else AcknowledgeOneByOne(channel).send

    @property
    def is_live(self) -> bool:
        """Whether deliveries can still be ended; when not, they come again."""
        return not (self.is_over or self._channel.is_closed)

    def begin(self, tag: int) -> None:
        """One more delivery is in our hands."""
        self._endings.begin(tag)
        self._silent_since_s = time.monotonic()

    async def end(self, tag: int, ending: Ending) -> None:
        """Return when the broker was told how a delivery ended, or can't be told any more."""
        if self._endings.in_hand == self._prefetch:
            self._silent_since_s = time.monotonic()  # until now there was no room for another
        self._endings.end(tag, ending)
        if self.is_live:
            self._has_endings.set()
            await self._told.wait()

    def deaf_s(self) -> float:
        """For how long nothing has come though it could."""
        is_listening = self.consumer_tag is not None and self._endings.in_hand < self._prefetch
        return time.monotonic() - self._silent_since_s if is_listening else 0.0

    async def start(
        self, queue: str, handler: Callable[[DeliveredMessage], Coroutine[None, None, None]]
    ) -> None:
        """Let messages come."""
        if self.consumer_tag is None:
            async with asyncio.timeout(_CONSUME_WITHIN_S):
                consuming = await self._channel.basic_consume(queue, handler)
            self.consumer_tag = consuming.consumer_tag
            self._silent_since_s = time.monotonic()

    async def stop(self) -> None:
        """Let nothing more come."""
        tag, self.consumer_tag = self.consumer_tag, None
        if tag is not None:
            async with asyncio.timeout(_CANCEL_WITHIN_S):
                await self._channel.basic_cancel(tag)

    async def keep_telling(self) -> None:
        """Tell what there is to tell, for ever."""
        while True:
            await self._has_endings.wait()
            self._has_endings.clear()
            await self._tell()

    async def tell_the_rest(self) -> None:
        """Return when the last word is out: closing the connection would drop what still waits in it."""
        self.is_over = True
        try:
            if not self._channel.is_closed:
                async with asyncio.timeout(_LAST_WORD_WITHIN_S):
                    await self._tell()
        finally:
            self._told.set()

    async def _tell(self) -> None:
        told = self._told
        self._told = asyncio.Event()  # who ends a delivery from now on waits for the next time
        try:
            await self._send(self._endings)
        finally:
            told.set()


async def _send_together(channel: UnderlayChannel, endings: Endings) -> None:
    """Return when all that was to be told is sent, in one write."""
    count, drained = len(endings), asyncio.get_running_loop().create_future()
    frames = b"".join(marshal(frame, channel.number) for frame in endings.frames())
    await write(channel, frames, drained=drained)  # cancelled, nothing was queued, and nothing is forgotten
    endings.forget(count)
    await drained


@asynccontextmanager
async def _open_hearing(channel: UnderlayChannel, prefetch: int, end: End) -> AsyncIterator[_Hearing]:
    """A consumer on this channel that says what it has to say until the end."""
    hearing = _Hearing(channel, prefetch, end)
    try:
        async with running(hearing.keep_telling, "telling how deliveries ended"):
            yield hearing
    finally:
        await failure_of(hearing.tell_the_rest())


class RabbitmqDelivery:
    """A `shared.ports.broker.Delivery`."""

    def __init__(self, message: DeliveredMessage, hearing: _Hearing) -> None:
        self._message = message
        self.tag = message.delivery_tag or 0
        self._hearing = hearing
        self._is_ended = False

    @property
    def is_live(self) -> bool:
        """Whether it can still be ended; when its channel is gone, the message comes again."""
        return self._hearing.is_live

    @property
    def body(self) -> bytes:
        return self._message.body

    @property
    def attempt(self) -> int:
        headers = self._message.header.properties.headers or {}
        returns = headers.get("x-delivery-count")
        known = returns if isinstance(returns, int) else 0
        return 1 + max(known, int(self._message.redelivered or 0))

    async def ack(self) -> None:
        await self._end(Ending.ACK)

    async def requeue(self) -> None:
        await self._end(Ending.REQUEUE)

    async def dead_letter(self) -> None:
        await self._end(Ending.DEAD_LETTER)

    async def _end(self, ending: Ending) -> None:
        if not self._is_ended:
            self._is_ended = True
            await self._hearing.end(self.tag, ending)


async def _look(channel: AbstractChannel, queue: str, hearing: _Hearing) -> None:
    """Ask the broker how many messages wait, which also shows whether it still answers.

    Raises:
        ConnectionError: Messages wait, there is room for them, and none has come for too long.
    """
    declared = await channel.declare_queue(queue, passive=True)
    waiting = declared.declaration_result.message_count or 0
    deaf_s = hearing.deaf_s()
    if waiting and deaf_s > DEAF_AFTER_S:
        raise ConnectionError(f"deaf: {waiting} messages wait and none has come for {deaf_s:.0f} s")
