"""A subscriber that records every event and reconnects after every failure."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

import aio_pika
import orjson

from shared.events import EventType
from shared.runtime.supervision import failure_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

_QUEUE: Final = "sub.faults"
_RETRY_S: Final = 0.3
_ATTACH_WITHIN_S: Final = 10.0


class Listener:
    """The events that were received: by id, with their number, first time and sources."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = cycle(urls)
        self.deliveries: Counter[str] = Counter()
        self.events: dict[str, dict[str, Any]] = {}
        self.received_s: dict[str, float] = {}
        self.sources: set[str] = set()
        self.by_key: dict[tuple[str, int], set[str]] = {}
        self.changed: set[str] = set()
        self.erased: set[str] = set()

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
        event = orjson.loads(message.body)
        event_id, data = event["id"], event["data"]
        self.deliveries[event_id] += 1
        if self.events.setdefault(event_id, event)["data"] != data:
            self.changed.add(event_id)
        self.sources.add(event["source"])
        self.received_s.setdefault(event_id, time.monotonic())
        if event["type"] == EventType.DELETED:
            self.erased.add(data["id"])
        else:
            self.by_key.setdefault((data["id"], data["generation"]), set()).add(event_id)
        await message.ack()


@asynccontextmanager
async def open_listener(urls: Sequence[str]) -> AsyncIterator[Listener]:
    """Yield a subscriber that consumes while the context is open, at any node."""
    listener = Listener(urls)
    listening = asyncio.create_task(listener.listen())
    try:
        yield listener
    finally:
        listening.cancel()
        await asyncio.wait([listening])
