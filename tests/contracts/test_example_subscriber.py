"""examples/subscriber.py on a RabbitMQ, with messages that no Isoline publishes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aio_pika

from tests.contracts.brokers import open_channel
from tests.support.golden_events import THIS_RELEASE, events_of

if TYPE_CHECKING:
    from shared.broker.topology import Topology

_EXAMPLE: Final = Path(__file__).parents[2] / "examples/subscriber.py"
_LIMIT_S: Final = 60
_UNREADABLE: Final = (b"not json", b"\xff", b"", b"[]", b"null", b"{}", b'{"id": 1}', b"[" * 100_000)


async def test_what_is_unreadable_is_told_and_ends_no_subscriber(amqp_url: str, topology: Topology) -> None:
    event = next(it for it in events_of(THIS_RELEASE) if json.loads(it)["type"] == "ecg.processed")
    bodies = (*_UNREADABLE, event)
    async with open_channel(amqp_url) as channel:
        exchange = await channel.declare_exchange(
            topology.exchange, aio_pika.ExchangeType.TOPIC, durable=True
        )
        queue = await channel.declare_queue(f"{topology.namespace}sub.example.processed", durable=True)
        await queue.bind(exchange, "ecg.processed")
        for body in bodies:
            await exchange.publish(aio_pika.Message(body), "ecg.processed")

        process = await asyncio.create_subprocess_exec(
            *(sys.executable, _EXAMPLE, amqp_url),
            stdout=PIPE,
            stderr=PIPE,
            env=os.environ | {"ISOLINE_AMQP_NAMESPACE": topology.namespace},
        )
        try:
            assert process.stdout
            async with asyncio.timeout(_LIMIT_S):
                printed = await process.stdout.readline()
        finally:
            process.terminate()
            _, told = await process.communicate()
        await queue.delete(if_unused=False, if_empty=False)

    assert json.loads(printed) == json.loads(event)
    assert [line.partition(b":")[0] for line in told.splitlines()][: len(_UNREADABLE)] == [
        b"unreadable"
    ] * len(_UNREADABLE)
