"""The same pipeline as a good textbook has it, one thing at a time.

``python -m tests.programs.benchmarks.baselines.textbook KIND PORT DATABASE_URL AMQP_URL PREFETCH``,
where KIND is gateway or processor.

It makes no promise that a crash would test, and asks nobody for a token; but it is no straw man: uvloop,
orjson, asyncpg's pool, NumPy, a claim check instead of the samples in the message, a quorum queue, persistent
messages, publisher confirms on a channel that stays open, a transaction per result, and an ack after the
event was confirmed.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import aio_pika
import asyncpg
import numpy as np
import orjson
import uvloop
from aiohttp import web

from processor.insights.zero_crossings import count_zero_crossings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage

TABLE: Final = """
CREATE TABLE IF NOT EXISTS ecg (
    row bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text COLLATE "C" NOT NULL UNIQUE,
    status text NOT NULL DEFAULT 'queued',
    leads json NOT NULL,
    samples bytea NOT NULL,
    result json,
    submitted_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
);
ALTER TABLE ecg ALTER COLUMN samples SET STORAGE EXTERNAL;
CREATE INDEX IF NOT EXISTS ecg_queued ON ecg (row) WHERE status = 'queued';
"""
_ADD: Final = "INSERT INTO ecg (id, leads, samples) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING"
_LOAD: Final = "SELECT leads, samples FROM ecg WHERE id = $1 AND status = 'queued'"
_FINISH: Final = "UPDATE ecg SET status = 'completed', result = $2, finished_at = now() WHERE id = $1"

EXCHANGE: Final = "textbook.events"
_QUEUE: Final = "textbook.submitted"
_SUBMITTED: Final = "ecg.submitted"
PROCESSED: Final = "ecg.processed"
_CONNECTIONS: Final = 10
_MAX_BODY_BYTES: Final = 64 * 2**20


class Gateway:
    """Stores, publishes, answers."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], exchange: AbstractExchange) -> None:
        self._pool = pool
        self._exchange = exchange

    async def accept(self, request: web.Request) -> web.Response:
        """202 once the ECG is committed and the broker has confirmed its message."""
        document = orjson.loads(await request.read())
        ecg_id, leads = str(document["id"]), document["leads"]
        signals = [np.array(lead["signal"], np.int32) for lead in leads]
        described = [[lead["name"], lead.get("baseline", 0), len(lead["signal"])] for lead in leads]
        samples = b"".join(signal.tobytes() for signal in signals)
        await self._pool.execute(_ADD, ecg_id, orjson.dumps(described).decode(), samples)
        await _publish(self._exchange, _SUBMITTED, {"id": ecg_id})
        answer = orjson.dumps({"id": ecg_id, "status": "queued"})
        return web.Response(status=202, body=answer, content_type="application/json")


class Processor:
    """Loads, counts, stores, publishes, acknowledges."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], exchange: AbstractExchange) -> None:
        self._pool = pool
        self._exchange = exchange

    async def settle(self, message: AbstractIncomingMessage) -> None:
        """Acknowledge once the result is committed and the broker has confirmed its event."""
        async with message.process(requeue=True):
            ecg_id = orjson.loads(message.body)["id"]
            async with self._pool.acquire() as connection, connection.transaction():
                row = await connection.fetchrow(_LOAD, ecg_id)
                if row is None:
                    return
                result = _counted(row["leads"], row["samples"])
                await connection.execute(_FINISH, ecg_id, orjson.dumps(result).decode())
            await _publish(self._exchange, PROCESSED, {"id": ecg_id, "leads": result})


async def serve_gateway(port: int, database_url: str, amqp_url: str) -> None:
    """Serve until killed."""
    async with _open_pool(database_url) as pool, _open_channel(amqp_url) as channel:
        gateway = Gateway(pool, await _declare(channel))
        await _serve(port, [web.post("/ecg/process", gateway.accept)])


async def serve_processor(port: int, database_url: str, amqp_url: str, prefetch: int) -> None:
    """Work until killed."""
    async with _open_pool(database_url) as pool, _open_channel(amqp_url) as channel:
        await channel.set_qos(prefetch_count=prefetch)
        processor = Processor(pool, await _declare(channel))
        queue = await channel.get_queue(_QUEUE)
        await queue.consume(processor.settle)
        await _serve(port, [])


async def delete_queue(amqp_url: str) -> None:
    """Remove the queue, whatever is in it."""
    async with _open_channel(amqp_url) as channel:
        await channel.queue_delete(_QUEUE)


def _counted(leads: str, samples: bytes) -> list[dict[str, Any]]:
    every, results, start = np.frombuffer(samples, np.int32), [], 0
    for name, baseline, length in orjson.loads(leads):
        results.append(
            {name: {"zero_crossings": count_zero_crossings(every[start : start + length], baseline)}}
        )
        start += length
    return results


async def _publish(exchange: AbstractExchange, key: str, document: object) -> None:
    message = aio_pika.Message(
        orjson.dumps(document),
        content_type="application/json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )
    await exchange.publish(message, key)


async def _declare(channel: AbstractChannel) -> AbstractExchange:
    exchange = await channel.declare_exchange(EXCHANGE, aio_pika.ExchangeType.TOPIC, durable=True)
    queue = await channel.declare_queue(_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    await queue.bind(exchange, _SUBMITTED)
    return exchange


@asynccontextmanager
async def _open_pool(database_url: str) -> AsyncIterator[asyncpg.Pool[asyncpg.Record]]:
    async with asyncpg.create_pool(database_url, min_size=_CONNECTIONS, max_size=_CONNECTIONS) as pool:
        yield pool


@asynccontextmanager
async def _open_channel(amqp_url: str) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(amqp_url) as connection:
        yield await connection.channel(publisher_confirms=True, on_return_raises=False)


async def _serve(port: int, routes: list[web.RouteDef]) -> None:
    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.add_routes([*routes, web.get("/health/ready", _ready)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


async def _ready(_: web.Request) -> web.Response:
    return web.Response()


def main() -> None:
    """Run one of the two."""
    role, port, database_url, amqp_url, prefetch = sys.argv[1:]
    if role == "gateway":
        uvloop.run(serve_gateway(int(port), database_url, amqp_url))
    else:
        uvloop.run(serve_processor(int(port), database_url, amqp_url, int(prefetch)))


if __name__ == "__main__":
    main()
