"""Publishing to RabbitMQ, each event confirmed by it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from aio_pika import DeliveryMode, Message
from aio_pika.exceptions import PublishError

from shared.broker.rabbitmq import Link, failure_of, keep_connected
from shared.domain.errors import UnavailableError, UnroutableError
from shared.events import CONTENT_TYPE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aio_pika.abc import AbstractChannel, AbstractExchange

    from shared.broker.rabbitmq import End
    from shared.broker.topology import Topology
    from shared.events import Event

_MAX_IN_FLIGHT: Final = 256


@asynccontextmanager
async def open_rabbitmq_publisher(
    url: str, *, topology: Topology, timeout_s: float = 5.0, connect_timeout_s: float = 10.0
) -> AsyncIterator[RabbitmqPublisher]:
    """Open a publisher, whether or not the broker is there: it connects as soon as that is possible.

    Args:
        url: Where the broker is, ``amqp://`` or ``amqps://``.
        topology: What is declared there, whenever it connects.
        timeout_s: How long a publish may take; after it the outcome is unknown.
        connect_timeout_s: How long one attempt to connect may take, and so this opening too.
    """
    link = Link(url=url, name="isoline publisher", topology=topology, connect_timeout_s=connect_timeout_s)
    publisher = RabbitmqPublisher(topology.exchange, timeout_s=timeout_s)
    async with keep_connected(link, publisher.attach):
        yield publisher


class RabbitmqPublisher:
    """A `shared.ports.Publisher`."""

    def __init__(self, exchange: str, *, timeout_s: float) -> None:
        self._name = exchange
        self._timeout_s = timeout_s
        self._in_flight = asyncio.Semaphore(_MAX_IN_FLIGHT)
        self._exchange: AbstractExchange | None = None

    @property
    def is_connected(self) -> bool:
        """Whether publishing can succeed now."""
        return self._exchange is not None

    @asynccontextmanager
    async def attach(self, channel: AbstractChannel, _end: End) -> AsyncIterator[None]:
        """Publish on this channel."""
        self._exchange = await channel.get_exchange(self._name, ensure=False)
        try:
            yield
        finally:
            self._exchange = None

    async def publish(self, events: Sequence[Event]) -> list[UnroutableError | UnavailableError | None]:
        return await asyncio.gather(*map(self._publish, events))

    async def _publish(self, event: Event) -> UnroutableError | UnavailableError | None:
        failure = await failure_of(self._send(event))
        if failure is None:
            return None
        if isinstance(failure, PublishError):
            return UnroutableError(f"no queue is bound to {event.type}")
        return UnavailableError(f"the broker did not confirm {event.type}: {failure!r}")

    async def _send(self, event: Event) -> None:
        # The library's own time limit does not cover waiting for the channel.
        async with asyncio.timeout(self._timeout_s), self._in_flight:
            if self._exchange is None:
                raise ConnectionError("not connected")
            await self._exchange.publish(_message(event), event.type, mandatory=True)


def _message(event: Event) -> Message:
    return Message(
        event.body,
        # Not the event's id: the library tells returned messages apart by this one, and of four with the
        # same id in flight it took three for confirmed.
        message_id=uuid4().hex,
        content_type=CONTENT_TYPE,
        type=event.type,
        delivery_mode=DeliveryMode.PERSISTENT,
    )
