"""Acknowledging by documented methods, one by one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from shared.broker.rabbitmq.acknowledgements import Acknowledgements, Disposition
from shared.broker.rabbitmq.one_by_one_fallback import OneByOneAcknowledger

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel


class SlowChannel:
    """A channel that yields to the event loop for each acknowledgement."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def basic_ack(self, tag: int, *, multiple: bool) -> None:
        await asyncio.sleep(0)
        self.sent.append(f"ack {tag}{' and all before' * multiple}")

    async def basic_reject(self, tag: int, *, requeue: bool) -> None:
        await asyncio.sleep(0)
        self.sent.append(f"{'requeue' if requeue else 'dead-letter'} {tag}")


async def test_a_cancelled_send_is_finished_before_the_next_one() -> None:
    channel, acknowledgements = SlowChannel(), Acknowledgements()
    sender = OneByOneAcknowledger(cast("AbstractChannel", channel))
    for tag in range(1, 5):
        acknowledgements.add(tag)
    acknowledgements.settle(1, Disposition.REQUEUE)
    acknowledgements.settle(2, Disposition.DEAD_LETTER)

    sending = asyncio.create_task(sender.send(acknowledgements))
    await asyncio.sleep(0)
    sending.cancel()
    acknowledgements.settle(3, Disposition.ACK)
    await sender.send(acknowledgements)

    assert channel.sent == ["requeue 1", "dead-letter 2", "ack 3 and all before"]
