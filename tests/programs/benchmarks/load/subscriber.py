"""A service that hears of every result, as far as the broker is concerned: a queue that keeps the last few.

Without one, every event of each contender would come back as unroutable; nobody runs a pipeline to that end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import aio_pika
from aio_pika import ExchangeType

if TYPE_CHECKING:
    from pamqp.common import FieldTable

_ARGUMENTS: Final[FieldTable] = {"x-queue-type": "quorum", "x-max-length": 1000}


async def subscribe(amqp_url: str, exchange: str, key: str) -> None:
    """Have every event of a type from now on queued; what a subscriber costs that takes them is left out."""
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        events = await channel.declare_exchange(exchange, ExchangeType.TOPIC, durable=True)
        queue = await channel.declare_queue(f"sub.bench.{exchange}", durable=True, arguments=_ARGUMENTS)
        await queue.bind(events, key)
