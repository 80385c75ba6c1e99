"""Name and declare the exchanges and queues; subscribers rely on the exchange's name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aio_pika

from shared.events import EventType

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel

_DELIVERY_LIMIT: Final = 20  # RabbitMQ 4's default; 3.x has none


@dataclass(frozen=True, slots=True)
class Topology:
    """The names at one broker, each with a prefix, so that several installations can share the broker."""

    namespace: str = ""

    @property
    def exchange(self) -> str:
        """Every event is published here, with its type as the routing key."""
        return f"{self.namespace}ecg.events"

    @property
    def submitted_queue(self) -> str:
        """The processors consume it."""
        return f"{self.namespace}processor.ecg-submitted"

    @property
    def dead_letter_exchange(self) -> str:
        """The broker publishes dead letters of the submitted queue here."""
        return f"{self.namespace}ecg.dead-letters"

    @property
    def dead_letter_queue(self) -> str:
        """Dead letters, until an operator settles them."""
        return f"{self.namespace}processor.ecg-submitted.dead"


async def declare(channel: AbstractChannel, topology: Topology) -> None:
    """Declare every exchange and queue, so that a submission is always routed."""
    dead_letters = await channel.declare_exchange(
        topology.dead_letter_exchange, aio_pika.ExchangeType.FANOUT, durable=True
    )
    dead = await channel.declare_queue(
        topology.dead_letter_queue, durable=True, arguments={"x-queue-type": "quorum"}
    )
    await dead.bind(dead_letters)
    events = await channel.declare_exchange(topology.exchange, aio_pika.ExchangeType.TOPIC, durable=True)
    submitted = await channel.declare_queue(
        topology.submitted_queue,
        durable=True,
        arguments={
            "x-queue-type": "quorum",
            "x-dead-letter-exchange": topology.dead_letter_exchange,
            "x-delivery-limit": _DELIVERY_LIMIT,
        },
    )
    await submitted.bind(events, EventType.SUBMITTED)
