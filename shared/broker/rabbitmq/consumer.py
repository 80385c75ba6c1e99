"""Consume the submitted queue of RabbitMQ."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from pamqp.frame import marshal

from shared.broker.queue_metrics import observe_dead_letters, observe_queue, observing_session
from shared.broker.rabbitmq.acknowledgements import Acknowledgements, Disposition
from shared.broker.rabbitmq.aiormq_internals import is_proven, write
from shared.broker.rabbitmq.connection import ConnectionOptions, keep_connected
from shared.broker.rabbitmq.connection_state import ConnectionState
from shared.broker.rabbitmq.one_by_one_fallback import OneByOneAcknowledger
from shared.broker.rabbitmq.refusals import describe_failure
from shared.domain.errors import UnavailableError
from shared.runtime.supervision import background_task, failure_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from aio_pika.abc import AbstractChannel
    from aiormq.abc import AbstractChannel as UnderlayChannel
    from aiormq.abc import DeliveredMessage

    from shared.broker.rabbitmq.connection import EndChannel, Probe, Redeclare
    from shared.broker.topology import Topology
    from shared.ports.broker import Delivery

_NAME: Final = "isoline consumer"
# Longer than a quorum queue takes to elect a leader.
STALLED_AFTER_S: Final = 10.0
# By `asyncio.timeout` and not as aiormq's own limits: on Python 3.11 its `asyncio.wait_for` loses a
# cancellation that comes together with the answer.
_CANCEL_WITHIN_S: Final = 3.0
# A queue without a leader can be declared, and answers no consumer. Shorter than an attempt to connect, whose
# reason would not name the queue.
_CONSUME_WITHIN_S: Final = 8.0
_FLUSH_WITHIN_S: Final = 1.0
_COUNT_WITHIN_S: Final = 2.0
_CLOSE_CHANNEL_WITHIN_S: Final = 1.0


@asynccontextmanager
async def open_rabbitmq_consumer(
    url: str,
    *,
    topology: Topology,
    prefetch: int,
    process: str = "isoline",
    is_paused: bool = False,
    connect_timeout_s: float = 10.0,
) -> AsyncIterator[RabbitmqConsumer]:
    """Open a consumer, whether or not the broker is up: it connects as soon as that is possible.

    Deliveries that are unsettled at the end go back to the queue.

    Args:
        url: Where the broker is, ``amqp://`` or ``amqps://``; or its nodes, with commas between them.
        topology: Exchanges and queues, declared on every connect if the user has the right to.
        prefetch: Most deliveries that are unsettled at any time.
        process: How the broker shows this process among its connections.
        is_paused: Whether it consumes nothing until it is resumed.
        connect_timeout_s: Limit of one attempt to connect, and of this opening.
    """
    state = ConnectionState(_NAME)
    consumer = RabbitmqConsumer(topology, prefetch=prefetch, is_paused=is_paused, state=state)
    options = ConnectionOptions(
        url=url,
        name=f"{process} consumer",
        topology=topology,
        connect_timeout_s=connect_timeout_s,
        state=state,
    )
    async with keep_connected(options, consumer.attach):
        yield consumer


class RabbitmqConsumer:
    """A `shared.ports.broker.Consumer`."""

    def __init__(self, topology: Topology, *, prefetch: int, is_paused: bool, state: ConnectionState) -> None:
        self._topology = topology
        self._connection_state = state
        self._prefetch = prefetch
        self._received: asyncio.Queue[RabbitmqDelivery] = asyncio.Queue()  # the prefetch bounds it
        self._session: _ConsumerSession | None = None
        self._is_paused = is_paused
        self._consume_lock = asyncio.Lock()

    @property
    def is_connected(self) -> bool:
        """Whether deliveries can come now, unless it is paused."""
        return self._session is not None

    async def check(self) -> None:
        """Return if deliveries can come.

        Raises:
            UnavailableError: They can't, for this reason.
        """
        if self._session is None:
            raise self._not_connected(is_logged=False)
        self._connection_state.check()

    async def check_consuming(self) -> None:
        """Return if the broker has it as a consumer of the queue.

        Raises:
            UnavailableError: It has not: it is not connected, or was paused.
        """
        if self._session is None:
            raise self._not_connected(is_logged=True)
        if self._session.consumer_tag is None:
            raise UnavailableError("consuming is paused", is_logged=True)

    def _not_connected(self, *, is_logged: bool) -> UnavailableError:
        reason = self._connection_state.reason or "the connection was lost"
        return UnavailableError(f"RabbitMQ: {reason}", is_logged=is_logged)

    @asynccontextmanager
    async def attach(
        self, channel: AbstractChannel, end: EndChannel, _redeclare: Redeclare
    ) -> AsyncIterator[Probe]:
        """Consume on this channel until the broker cancels that, as it does when the queue is deleted."""
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(lambda _: end("the broker ended the consumer"))
        async with _open_session(underlay, end) as session:
            self._session = session
            try:
                await self._apply(session)
                with observing_session(lambda: session.unsettled):
                    yield partial(_probe, channel, self._topology, session)
            finally:
                self._session = None

    async def _on_message(self, session: _ConsumerSession, message: DeliveredMessage) -> None:
        delivery = RabbitmqDelivery(message, session)
        session.add(delivery.tag)
        await self._received.put(delivery)

    async def set_prefetch(self, count: int) -> None:
        self._prefetch = count
        await self._apply_or_end_channel()

    async def pause(self) -> list[Delivery]:
        self._is_paused = True
        await self._apply_or_end_channel()
        unreceived = [self._received.get_nowait() for _ in range(self._received.qsize())]
        return [delivery for delivery in unreceived if delivery.is_live]

    async def resume(self) -> None:
        self._is_paused = False
        await self._apply_or_end_channel()

    async def _apply_or_end_channel(self) -> None:
        """Apply pause and prefetch to the open session; if that fails, end its channel: the next is right."""
        if self._session is not None:
            session = self._session
            failure = await failure_of(self._apply(session))
            if failure is not None:
                session.end_channel(describe_failure(failure))

    async def _apply(self, session: _ConsumerSession) -> None:
        """Consume or not, and with that prefetch, as the last calls asked for."""
        async with self._consume_lock:
            if self._is_paused:
                await session.stop()
            else:
                # aiormq cancels a handler together with its channel, so this one only queues the message.
                await session.start(
                    self._topology.submitted_queue, self._prefetch, partial(self._on_message, session)
                )

    async def receive(self, limit: int) -> list[Delivery]:
        deliveries: list[Delivery] = []
        while not deliveries:
            received = [await self._received.get()]
            while len(received) < limit and not self._received.empty():
                received.append(self._received.get_nowait())
            deliveries = [delivery for delivery in received if delivery.is_live]
        return deliveries


class _ConsumerSession:
    """Consuming on one channel: its unsettled deliveries, and acknowledgements sent in batches.

    Deliveries that are settled at the same time are acknowledged in one write.
    """

    def __init__(self, channel: UnderlayChannel, end: EndChannel) -> None:
        self.consumer_tag: str | None = None
        self.is_closed = False
        self._channel = channel
        self.end_channel = end
        self._prefetch = 0
        self._idle_since_s = time.monotonic()
        self._acknowledgements = Acknowledgements()
        self._has_unsent = asyncio.Event()
        self._sent = asyncio.Event()
        self._send = (
            partial(_send_in_one_write, channel) if is_proven() else OneByOneAcknowledger(channel).send
        )

    @property
    def is_live(self) -> bool:
        """Whether deliveries can still be settled; when not, they come again."""
        return not (self.is_closed or self._channel.is_closed)

    @property
    def unsettled(self) -> int:
        """Number of deliveries that are not settled."""
        return self._acknowledgements.unsettled

    def add(self, tag: int) -> None:
        """Add a delivery, unsettled."""
        self._acknowledgements.add(tag)
        self._idle_since_s = time.monotonic()

    async def settle(self, tag: int, disposition: Disposition) -> None:
        """Return when the disposition of a delivery was sent, or can't be sent any more."""
        if self._acknowledgements.unsettled >= self._prefetch:
            self._idle_since_s = time.monotonic()  # until now the prefetch allowed no other delivery
        self._acknowledgements.settle(tag, disposition)
        if self.is_live:
            self._has_unsent.set()
            await self._sent.wait()

    def stalled_s(self) -> float:
        """For how long nothing was delivered although it consumes and the prefetch allows more."""
        is_consuming = self.consumer_tag is not None and self._acknowledgements.unsettled < self._prefetch
        return time.monotonic() - self._idle_since_s if is_consuming else 0.0

    async def start(
        self, queue: str, prefetch: int, handler: Callable[[DeliveredMessage], Coroutine[None, None, None]]
    ) -> None:
        """Consume with this prefetch; the broker applies a prefetch to what begins to consume afterwards.

        Raises:
            ConnectionError: The queue does not answer.
        """
        if self.consumer_tag is not None:
            if prefetch == self._prefetch:
                return
            await self._cancel(self.consumer_tag)
        try:
            async with asyncio.timeout(_CONSUME_WITHIN_S):
                await self._channel.basic_qos(prefetch_count=prefetch)
                self._prefetch = prefetch
                consuming = await self._channel.basic_consume(queue, handler)
        except TimeoutError:
            raise ConnectionError(f"the queue {queue} does not answer; it may have no leader") from None
        self.consumer_tag = consuming.consumer_tag
        self._idle_since_s = time.monotonic()

    async def stop(self) -> None:
        """Stop consuming."""
        tag, self.consumer_tag = self.consumer_tag, None
        if tag is not None:
            await self._cancel(tag)

    async def _cancel(self, tag: str) -> None:
        async with asyncio.timeout(_CANCEL_WITHIN_S):
            await self._channel.basic_cancel(tag)

    async def send_forever(self) -> None:
        """Send dispositions as they are decided, for ever."""
        while True:
            await self._has_unsent.wait()
            self._has_unsent.clear()
            await self._send_unsent()

    async def send_the_rest(self) -> None:
        """Return when all dispositions are sent: closing the connection drops what its buffer holds."""
        self.is_closed = True
        try:
            if not self._channel.is_closed:
                async with asyncio.timeout(_FLUSH_WITHIN_S):
                    await self._send_unsent()
        finally:
            self._sent.set()

    async def _send_unsent(self) -> None:
        sent = self._sent
        self._sent = asyncio.Event()  # a delivery that is settled from now on waits for the next write
        try:
            await self._send(self._acknowledgements)
        finally:
            sent.set()


async def _send_in_one_write(channel: UnderlayChannel, acknowledgements: Acknowledgements) -> None:
    """Return when every unsent disposition is sent, in one write."""
    count, drained = len(acknowledgements), asyncio.get_running_loop().create_future()
    frames = b"".join(marshal(frame, channel.number) for frame in acknowledgements.frames())
    await write(
        channel, frames, drained=drained
    )  # cancelled, it queues nothing, and nothing is marked as sent
    acknowledgements.mark_sent(count)
    await drained


@asynccontextmanager
async def _open_session(channel: UnderlayChannel, end: EndChannel) -> AsyncIterator[_ConsumerSession]:
    """A session on this channel that sends acknowledgements until the end."""
    session = _ConsumerSession(channel, end)
    try:
        async with background_task(session.send_forever, "sending acknowledgements"):
            yield session
    finally:
        await failure_of(session.send_the_rest())


class RabbitmqDelivery:
    """A `shared.ports.broker.Delivery`."""

    def __init__(self, message: DeliveredMessage, session: _ConsumerSession) -> None:
        self._message = message
        self.tag = message.delivery_tag or 0
        self._session = session
        self._is_settled = False

    @property
    def is_live(self) -> bool:
        """Whether it can still be settled; when its channel is closed, the message comes again."""
        return self._session.is_live

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
        await self._settle(Disposition.ACK)

    async def requeue(self) -> None:
        await self._settle(Disposition.REQUEUE)

    async def dead_letter(self) -> None:
        await self._settle(Disposition.DEAD_LETTER)

    async def _settle(self, disposition: Disposition) -> None:
        if not self._is_settled:
            self._is_settled = True
            await self._session.settle(self.tag, disposition)


async def _probe(channel: AbstractChannel, topology: Topology, session: _ConsumerSession) -> None:
    """Ask the broker how many messages are ready, which also shows whether it still answers.

    Raises:
        ConnectionError: Messages are ready, the prefetch allows more, and none was delivered for too long.
    """
    declared = await channel.declare_queue(topology.submitted_queue, passive=True)
    waiting = declared.declaration_result.message_count or 0
    observe_queue(ready=waiting, consumers=declared.declaration_result.consumer_count or 0)
    observe_dead_letters(await _count_dead_letters(channel, topology))
    stalled_s = session.stalled_s()
    if waiting and stalled_s > STALLED_AFTER_S:
        raise ConnectionError(f"stalled: {waiting} messages wait and none has come for {stalled_s:.0f} s")


async def _count_dead_letters(channel: AbstractChannel, topology: Topology) -> float:
    """Number of dead letters, or NaN if the broker does not tell: analysis goes on all the same."""
    count = math.nan

    async def ask() -> None:
        nonlocal count
        async with asyncio.timeout(_COUNT_WITHIN_S), _open_another_channel(channel) as own:
            count = (await own.queue_declare(topology.dead_letter_queue, passive=True)).message_count or 0

    await failure_of(ask())
    return count


@asynccontextmanager
async def _open_another_channel(channel: AbstractChannel) -> AsyncIterator[UnderlayChannel]:
    """A channel on the same connection; the broker closes it, and no other, when it refuses something."""
    own = await (await channel.get_underlay_channel()).connection.channel()
    try:
        yield own
    finally:
        async with asyncio.timeout(_CLOSE_CHANNEL_WITHIN_S):
            await own.close()
