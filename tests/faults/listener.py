"""A subscriber that keeps every event it hears, and comes back from everything."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import aio_pika
import orjson

from shared.events import EventType
from shared.supervision import failure_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika.abc import AbstractIncomingMessage

_QUEUE: Final = "sub.faults"
_RETRY_S: Final = 0.3


class Listener:
    """What was heard: each event by its id, how often, and when for the first time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.deliveries: Counter[str] = Counter()
        self.events: dict[str, dict[str, Any]] = {}
        self.heard_s: dict[str, float] = {}
        self.by_key: dict[tuple[str, int], set[str]] = {}
        self.changed: set[str] = set()

    async def listen(self) -> None:
        """Listen forever."""
        while True:
            await failure_of(self._listen_once())
            await asyncio.sleep(_RETRY_S)

    async def _listen_once(self) -> None:
        async with await aio_pika.connect(self._url, timeout=5, heartbeat=5) as connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=200)
            exchange = await channel.declare_exchange("ecg.events", "topic", durable=True)
            queue = await channel.declare_queue(_QUEUE, durable=True)
            for type_ in (EventType.PROCESSED, EventType.FAILED):
                await queue.bind(exchange, type_)
            ended = asyncio.Event()
            channel.close_callbacks.add(lambda *_: ended.set())
            await queue.consume(self._hear)
            await ended.wait()

    async def _hear(self, message: AbstractIncomingMessage) -> None:
        event = orjson.loads(message.body)
        event_id, data = event["id"], event["data"]
        self.deliveries[event_id] += 1
        if self.events.setdefault(event_id, event)["data"] != data:
            self.changed.add(event_id)
        self.heard_s.setdefault(event_id, time.monotonic())
        self.by_key.setdefault((data["id"], data["generation"]), set()).add(event_id)
        await message.ack()


@asynccontextmanager
async def open_listener(url: str) -> AsyncIterator[Listener]:
    """Yield a subscriber that listens for as long as the context is open."""
    listener = Listener(url)
    listening = asyncio.create_task(listener.listen())
    try:
        yield listener
    finally:
        listening.cancel()
        await asyncio.wait([listening])
