"""Publishing to RabbitMQ, each event confirmed by it.

Many go to a write with the versions of the libraries that this was proven with; with others, each by itself.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from uuid import uuid4

from aio_pika import DeliveryMode, Message
from aio_pika.exceptions import PublishError

from shared.broker.rabbitmq import Link, declare, is_blocked, keep_connected
from shared.broker.rabbitmq_pipeline import PROVEN, PipelinedPublisher
from shared.broker.refusals import words_of
from shared.broker.standing import Standing
from shared.broker.taken import Taken
from shared.domain.errors import UnavailableError, UnroutableError
from shared.events import CONTENT_TYPE
from shared.observability.logs import Logger
from shared.runtime.supervision import failure_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from aio_pika.abc import AbstractChannel, AbstractExchange
    from aiormq.abc import AbstractChannel as UnderlayChannel

    from shared.broker.rabbitmq import End, Look
    from shared.broker.topology import Topology
    from shared.events import Event

_NAME: Final = "isoline publisher"
_MAX_IN_FLIGHT: Final = 256

_log = Logger(__name__)


@asynccontextmanager
async def open_rabbitmq_publisher(
    url: str, *, topology: Topology, timeout_s: float = 5.0, connect_timeout_s: float = 10.0
) -> AsyncIterator[RabbitmqPublisher]:
    """Open a publisher, whether or not the broker is there: it connects as soon as that is possible.

    Args:
        url: Where the broker is, ``amqp://`` or ``amqps://``; or its nodes, with commas between them.
        topology: What is declared there, whenever it connects.
        timeout_s: How long a publish may take; after it the outcome is unknown.
        connect_timeout_s: How long one attempt to connect may take, and so this opening too.
    """
    standing = Standing(_NAME)
    publisher = _publisher(topology, standing=standing, timeout_s=timeout_s)
    link = Link(
        url=url, name=_NAME, topology=topology, connect_timeout_s=connect_timeout_s, standing=standing
    )
    async with keep_connected(link, publisher.attach):
        yield publisher


def installed_versions() -> dict[str, str]:
    """The versions of the libraries whose inside the pipelined publisher uses."""
    return {library: version(library) for library in PROVEN}


def _publisher(topology: Topology, *, standing: Standing, timeout_s: float) -> RabbitmqPublisher:
    installed = installed_versions()
    if installed == PROVEN:
        return PipelinedPublisher(topology, standing=standing, timeout_s=timeout_s)
    _log.warning("events are published one by one, which is slower", installed=installed, proven=PROVEN)
    return PlainPublisher(topology, standing=standing, timeout_s=timeout_s)


class _Open(NamedTuple):
    underlay: UnderlayChannel
    exchange: AbstractExchange


class PlainPublisher:
    """A `shared.ports.broker.Publisher`."""

    def __init__(self, topology: Topology, *, standing: Standing, timeout_s: float) -> None:
        self._topology = topology
        self._standing = standing
        self._timeout_s = timeout_s
        self._taken = Taken()
        self._in_flight = asyncio.Semaphore(_MAX_IN_FLIGHT)
        self._channel: _Open | None = None

    @property
    def is_connected(self) -> bool:
        """Whether publishing can succeed now."""
        return self._channel is not None

    @asynccontextmanager
    async def attach(self, channel: AbstractChannel, _end: End) -> AsyncIterator[Look]:
        """Publish on this channel."""
        underlay = await channel.get_underlay_channel()
        exchange = await channel.get_exchange(self._topology.exchange, ensure=False)

        async def look() -> None:
            if is_blocked(underlay):  # it may not answer
                return
            if self._taken.is_unrouted:
                await declare(channel, self._topology)
                self._taken = Taken()
            else:
                await channel.get_exchange(self._topology.exchange, ensure=True)

        self._channel = _Open(underlay, exchange)
        try:
            yield look
        finally:
            self._channel = None

    async def publish(self, events: Sequence[Event]) -> list[UnroutableError | UnavailableError | None]:
        outcomes = await asyncio.gather(*map(self._publish, events))
        self._taken.note(events, outcomes)
        return outcomes

    async def check(self) -> None:
        if trouble := self._trouble():
            raise UnavailableError(f"RabbitMQ: {trouble}", is_logged=True)

    async def check_taken(self) -> None:
        """See `PipelinedPublisher.check_taken`."""
        self._standing.check()
        await self.check()
        self._taken.check()

    def _trouble(self) -> str:
        if self._channel is None:
            return self._standing.reason or "the connection was lost"
        return "the broker blocks publishers" if is_blocked(self._channel.underlay) else ""

    async def _publish(self, event: Event) -> UnroutableError | UnavailableError | None:
        failure = await failure_of(self._send(event))
        if failure is None:
            return None
        if isinstance(failure, PublishError):
            return UnroutableError(f"no queue is bound to {event.type}")
        return UnavailableError(f"the broker did not confirm {event.type}: {words_of(failure)}")

    async def _send(self, event: Event) -> None:
        # The library's own time limit does not cover waiting for the channel.
        async with asyncio.timeout(self._timeout_s), self._in_flight:
            # Short of memory, the broker stops reading. What we sent all the same would wait in the socket,
            # and be published long after we had called it unavailable and published it again.
            if self._channel is None or self._trouble():
                raise ConnectionError(self._trouble())
            await self._channel.exchange.publish(_message(event), event.type, mandatory=True)


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


RabbitmqPublisher: TypeAlias = PipelinedPublisher | PlainPublisher
