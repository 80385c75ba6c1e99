"""Print each ecg.processed once: ``python examples/subscriber.py amqp://guest:guest@localhost/``."""

import asyncio
import json
import os
import sys
from typing import Any

import aio_pika


async def main(url: str) -> None:
    namespace = os.environ.get("ISOLINE_AMQP_NAMESPACE", "")
    async with await aio_pika.connect_robust(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=100)
        exchange = await channel.get_exchange(
            f"{namespace}ecg.events"
        )  # Isoline's; ours to bind to, not to make
        queue = await channel.declare_queue(f"{namespace}sub.example.processed", durable=True)
        await queue.bind(exchange, "ecg.processed")
        seen = set[str]()  # delivery is at least once; a real service keeps the ids with what it stores
        async with queue.iterator() as messages:
            async for message in messages:
                event = read_event(message.body)
                if event is None:  # given back it would come again for ever
                    print(f"unreadable: {message.body[:80]!r}", file=sys.stderr, flush=True)
                    await message.reject()  # to the queue's dead-letter exchange, if a policy gives it one
                    continue
                async with message.process(requeue=True):
                    if event["id"] not in seen:
                        seen.add(event["id"])
                        print(json.dumps(event), flush=True)


def read_event(body: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("id"), str) else None


asyncio.run(main(sys.argv[1]))
