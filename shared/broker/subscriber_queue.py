"""The queue of one subscriber at RabbitMQ, reached by the default exchange."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import aio_pika

from shared.broker.rabbitmq.connection import open_connection_to_any
from shared.broker.rabbitmq.refusals import translated_failures
from shared.events import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aio_pika.abc import AbstractExchange

    from shared.events import Event

_NAME: Final = "isoline events send"
_TIMEOUT_S: Final = 10.0


class RabbitmqSubscriberQueue:
    """`shared.ports.operators.subscriber_queue.SubscriberQueue` at RabbitMQ."""

    def __init__(self, exchange: AbstractExchange, name: str) -> None:
        self._exchange = exchange
        self._name = name

    async def put(self, events: Sequence[Event]) -> None:
        async with translated_failures():
            for event in events:
                await self._exchange.publish(_message(event), self._name, mandatory=True, timeout=_TIMEOUT_S)


@asynccontextmanager
async def open_subscriber_queue(url: str, name: str) -> AsyncIterator[RabbitmqSubscriberQueue]:
    """Open a queue that exists, at the first node that answers.

    Raises:
        UnavailableError: No node answers, there is no such queue, or the account may not publish to it.
    """
    async with translated_failures(), open_connection_to_any(url, _NAME, within_s=_TIMEOUT_S) as connection:
        channel = await connection.channel(on_return_raises=True)
        await channel.declare_queue(name, passive=True)
        yield RabbitmqSubscriberQueue(channel.default_exchange, name)


def _message(event: Event) -> aio_pika.Message:
    return aio_pika.Message(
        event.body,
        content_type=CONTENT_TYPE,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        message_id=uuid4().hex,  # of this publication, not of the event
        type=event.type,
    )
