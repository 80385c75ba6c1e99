"""Acknowledging by documented methods, one by one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from shared.broker.rabbitmq.acknowledgements import Ending, Endings
from shared.broker.rabbitmq.one_by_one import AcknowledgeOneByOne

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel


class SlowChannel:
    """A channel that takes a turn of the event loop for each acknowledgement."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def basic_ack(self, tag: int, *, multiple: bool) -> None:
        await asyncio.sleep(0)
        self.told.append(f"ack {tag}{' and all before' * multiple}")

    async def basic_reject(self, tag: int, *, requeue: bool) -> None:
        await asyncio.sleep(0)
        self.told.append(f"{'requeue' if requeue else 'dead-letter'} {tag}")


async def test_what_is_cancelled_is_sent_all_the_same_and_before_what_comes_next() -> None:
    channel, endings = SlowChannel(), Endings()
    sender = AcknowledgeOneByOne(cast("AbstractChannel", channel))
    for tag in range(1, 5):
        endings.begin(tag)
    endings.end(1, Ending.REQUEUE)
    endings.end(2, Ending.DEAD_LETTER)

    sending = asyncio.create_task(sender.send(endings))
    await asyncio.sleep(0)
    sending.cancel()
    endings.end(3, Ending.ACK)
    await sender.send(endings)

    assert channel.told == ["requeue 1", "dead-letter 2", "ack 3 and all before"]
