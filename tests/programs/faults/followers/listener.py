"""A subscriber that records every event and reconnects after every failure."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from itertools import cycle
from typing import TYPE_CHECKING, Final

import aio_pika
import orjson

from shared.events import EventType
from shared.runtime.supervision import failure_of
from tests.programs.faults.followers.follower import Follower

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

    from tests.programs.faults.followers.follower import Events

_QUEUE: Final = "sub.faults"
_RETRY_S: Final = 0.3
_ATTACH_WITHIN_S: Final = 10.0


class Listener(Follower):
    """Consumes over AMQP, at any of these nodes."""

    def __init__(self, urls: Sequence[str], events: Events) -> None:
        super().__init__("AMQP", events)
        self._urls = cycle(urls)

    async def listen(self) -> None:
        """Consume forever."""
        while True:
            await failure_of(self._listen_once())
            await asyncio.sleep(_RETRY_S)

    async def _listen_once(self) -> None:
        async with await aio_pika.connect(next(self._urls), timeout=5, heartbeat=5) as connection:
            ended = asyncio.Event()
            async with asyncio.timeout(_ATTACH_WITHIN_S):
                channel = await connection.channel()
                channel.close_callbacks.add(lambda *_: ended.set())
                await self._attach(channel)
            await ended.wait()

    async def _attach(self, channel: AbstractChannel) -> None:
        await channel.set_qos(prefetch_count=200)
        exchange = await channel.declare_exchange("ecg.events", "topic", durable=True)
        # A classic queue would be gone for as long as its node is.
        queue = await channel.declare_queue(_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        for type_ in (EventType.PROCESSED, EventType.FAILED, EventType.DELETED):
            await queue.bind(exchange, type_)
        await queue.consume(self._hear)

    async def _hear(self, message: AbstractIncomingMessage) -> None:
        self.record(orjson.loads(message.body))
        await message.ack()


@asynccontextmanager
async def open_listener(urls: Sequence[str], events: Events) -> AsyncIterator[Listener]:
    """Yield a subscriber that consumes while the context is open, at any node."""
    listener = Listener(urls, events)
    listening = asyncio.create_task(listener.listen())
    try:
        yield listener
    finally:
        listening.cancel()
        await asyncio.wait([listening])
