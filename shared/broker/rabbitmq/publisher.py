"""Publishing to RabbitMQ, each event confirmed by it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from shared.broker.rabbitmq.aiormq_internals import is_proven
from shared.broker.rabbitmq.connection import Link, declare, is_blocked, keep_connected
from shared.broker.rabbitmq.connection_state import Standing
from shared.broker.rabbitmq.one_by_one import OneByOne
from shared.broker.rabbitmq.pipeline import Pipeline
from shared.broker.rabbitmq.publisher_confirms import Fate, Tally
from shared.broker.rabbitmq.publisher_state import Taken
from shared.domain.errors import UnavailableError, UnroutableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from aio_pika.abc import AbstractChannel

    from shared.broker.rabbitmq.connection import End, Look
    from shared.broker.topology import Topology
    from shared.events import Event

_NAME: Final = "isoline publisher"
# A confirmation that was lost would take its place on the way for ever. Quorum queues elect a leader in less.
_CONFIRM_WITHIN_S: Final = 30.0

_Sender: TypeAlias = Pipeline | OneByOne


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
    publisher = RabbitmqPublisher(topology, standing=standing, timeout_s=timeout_s)
    link = Link(
        url=url, name=_NAME, topology=topology, connect_timeout_s=connect_timeout_s, standing=standing
    )
    async with keep_connected(link, publisher.attach):
        yield publisher


class RabbitmqPublisher:
    """A `shared.ports.broker.Publisher`."""

    def __init__(self, topology: Topology, *, standing: Standing, timeout_s: float) -> None:
        self._topology = topology
        self._standing = standing
        self._timeout_s = timeout_s
        self._taken = Taken()
        self._limits: set[asyncio.Timeout] = set()
        self._sender: _Sender | None = None

    @property
    def is_connected(self) -> bool:
        """Whether publishing can succeed now."""
        return self._sender is not None

    @asynccontextmanager
    async def attach(self, channel: AbstractChannel, _end: End) -> AsyncIterator[Look]:
        """Publish on this channel; nobody else may."""
        sender = self._sender = await self._make_sender(channel)
        sender.channel.closing.add_done_callback(lambda _: self._lose(sender))
        try:
            yield partial(self._look, channel, sender)
        finally:
            self._lose(sender)

    async def publish(self, events: Sequence[Event]) -> list[UnroutableError | UnavailableError | None]:
        tally = Tally(len(events))
        reason = await self._send(events, tally) if events else ""
        outcomes = [_outcome(event, fate, reason) for event, fate in zip(events, tally.fates, strict=True)]
        self._taken.note(events, outcomes)
        return outcomes

    async def check(self) -> None:
        if trouble := await self._trouble():
            raise UnavailableError(f"RabbitMQ: {trouble}", is_logged=True)

    async def check_taken(self) -> None:
        """Return if the broker can take events, and took those that were published last.

        Raises:
            UnavailableError: It can't, or did not, for this reason.
        """
        self._standing.check()
        await self.check()
        self._taken.check()

    async def _make_sender(self, channel: AbstractChannel) -> _Sender:
        underlay = await channel.get_underlay_channel()
        if is_proven():
            return Pipeline(underlay, self._topology.exchange, on_blocked=self._cut_short)
        return OneByOne(underlay, await channel.get_exchange(self._topology.exchange, ensure=False))

    async def _look(self, channel: AbstractChannel, sender: _Sender) -> None:
        """See whether the broker answers and confirms, and declare everything again if that may help.

        Raises:
            ConnectionError: A message has been waiting for too long.
        """
        if await is_blocked(sender.channel):  # it may not answer
            return
        if self._taken.is_unrouted:
            await declare(channel, self._topology)
            self._taken = Taken()
        else:
            await channel.get_exchange(self._topology.exchange, ensure=True)
        waited_s = sender.waited_s()
        if waited_s > _CONFIRM_WITHIN_S:
            raise ConnectionError(f"a message has not been confirmed for {waited_s:.0f} s")

    async def _trouble(self) -> str:
        """Why publishing can't succeed now; nothing if it can."""
        sender = self._sender
        if sender is None:
            return self._standing.reason or "the connection was lost"
        if await is_blocked(sender.channel):
            return f"the broker blocks publishers{sender.shortage and f': {sender.shortage}'}"
        if sender.waited_s() > self._timeout_s:
            return "the broker answers and confirms nothing"
        return ""

    async def _send(self, events: Sequence[Event], tally: Tally) -> str:
        """Send the events and wait for their fates; why one may still be unknown."""
        sender, trouble = self._sender, await self._trouble()
        if sender is None or trouble:
            return trouble
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                with self._cutting_short(limit):
                    return await sender.send(events, tally)
        except TimeoutError:
            return await self._trouble() or f"none came in {self._timeout_s:g} s"

    @contextmanager
    def _cutting_short(self, limit: asyncio.Timeout) -> Iterator[None]:
        """Inside, the time limit is up as soon as waiting is useless."""
        self._limits.add(limit)
        try:
            yield
        finally:
            self._limits.remove(limit)

    def _cut_short(self) -> None:
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time())

    def _lose(self, sender: _Sender) -> None:
        """The channel is gone; what is on its way stays unknown, and nobody waits for it any longer."""
        if self._sender is sender:
            self._sender = None
            self._cut_short()


def _outcome(event: Event, fate: Fate, reason: str) -> UnroutableError | UnavailableError | None:
    if fate is Fate.TAKEN:
        return None
    if fate is Fate.UNROUTABLE:
        return UnroutableError(f"no queue is bound to {event.type}")
    why = "it refused" if fate is Fate.REFUSED else reason
    return UnavailableError(f"the broker did not confirm {event.type}: {why}")
