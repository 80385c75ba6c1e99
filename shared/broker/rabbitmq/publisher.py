"""Publish events to RabbitMQ with publisher confirms."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

from shared.broker.publish_metrics import count_publishes
from shared.broker.rabbitmq.aiormq_internals import is_proven
from shared.broker.rabbitmq.connection import ConnectionOptions, is_blocked, keep_connected
from shared.broker.rabbitmq.connection_state import ConnectionState
from shared.broker.rabbitmq.one_by_one_fallback import OneByOnePublisher
from shared.broker.rabbitmq.pipeline import PipelinedPublisher
from shared.broker.rabbitmq.publisher_confirms import BatchOutcomes, PublishOutcome
from shared.broker.rabbitmq.publisher_state import PublisherState
from shared.broker.topology import DECLARED_BY
from shared.domain.errors import UnavailableError, UnroutableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from aio_pika.abc import AbstractChannel

    from shared.broker.rabbitmq.connection import EndChannel, Probe, Redeclare
    from shared.broker.topology import Topology
    from shared.events import Event

_NAME: Final = "isoline publisher"
# A lost confirm would occupy capacity for ever. Quorum queues elect a leader in less time.
_CONFIRM_WITHIN_S: Final = 30.0

_Sender: TypeAlias = PipelinedPublisher | OneByOnePublisher


@asynccontextmanager
async def open_rabbitmq_publisher(
    url: str,
    *,
    topology: Topology,
    process: str = "isoline",
    timeout_s: float = 5.0,
    connect_timeout_s: float = 10.0,
) -> AsyncIterator[RabbitmqPublisher]:
    """Open a publisher, whether or not the broker is up: it connects as soon as that is possible.

    Args:
        url: Where the broker is, ``amqp://`` or ``amqps://``; or its nodes, with commas between them.
        topology: Exchanges and queues, declared on every connect if the user has the right to.
        process: How the broker shows this process among its connections.
        timeout_s: Limit of one publish; after it the outcome is unknown.
        connect_timeout_s: Limit of one attempt to connect, and of this opening.
    """
    state = ConnectionState(_NAME)
    publisher = RabbitmqPublisher(topology, state=state, timeout_s=timeout_s)
    options = ConnectionOptions(
        url=url,
        name=f"{process} publisher",
        topology=topology,
        connect_timeout_s=connect_timeout_s,
        state=state,
    )
    async with keep_connected(options, publisher.attach):
        yield publisher


class RabbitmqPublisher:
    """A `shared.ports.broker.Publisher`."""

    def __init__(self, topology: Topology, *, state: ConnectionState, timeout_s: float) -> None:
        self._topology = topology
        self._connection_state = state
        self._timeout_s = timeout_s
        self._publisher_state = PublisherState()
        self._timeouts: set[asyncio.Timeout] = set()
        self._sender: _Sender | None = None

    @property
    def is_connected(self) -> bool:
        """Whether publishing can succeed now."""
        return self._sender is not None

    @asynccontextmanager
    async def attach(
        self, channel: AbstractChannel, _end: EndChannel, redeclare: Redeclare
    ) -> AsyncIterator[Probe]:
        """Publish on this channel, which nothing else may publish on."""
        sender = self._sender = await self._make_sender(channel)
        sender.channel.closing.add_done_callback(lambda _: self._detach(sender))
        try:
            yield partial(self._probe, channel, sender, redeclare)
        finally:
            self._detach(sender)

    async def publish(self, events: Sequence[Event]) -> list[UnroutableError | UnavailableError | None]:
        batch = BatchOutcomes(len(events))
        reason = await self._send(events, batch) if events else ""
        outcomes = [
            _outcome(event, outcome, reason) for event, outcome in zip(events, batch.outcomes, strict=True)
        ]
        self._publisher_state.keep_last_outcome(events, outcomes)
        count_publishes(outcomes)
        return outcomes

    async def check(self) -> None:
        if reason := await self._failure_reason():
            raise UnavailableError(f"RabbitMQ: {reason}", is_logged=True)

    async def check_last_publish(self) -> None:
        """Return if the broker can take events, and confirmed those that were published last.

        Raises:
            UnavailableError: It can't, or did not, for this reason.
        """
        self._connection_state.check()
        await self.check()
        self._publisher_state.check()

    async def _make_sender(self, channel: AbstractChannel) -> _Sender:
        underlay = await channel.get_underlay_channel()
        if is_proven():
            return PipelinedPublisher(underlay, self._topology.exchange, on_blocked=self._expire_timeouts)
        return OneByOnePublisher(underlay, await channel.get_exchange(self._topology.exchange, ensure=False))

    async def _probe(self, channel: AbstractChannel, sender: _Sender, redeclare: Redeclare) -> None:
        """Check that the broker answers and confirms; declare the topology again after an unrouted event.

        Raises:
            ConnectionError: A message has waited too long for its confirm.
        """
        if await is_blocked(sender.channel):  # the broker may not answer
            return
        if self._publisher_state.is_unrouted:
            if await redeclare():
                self._publisher_state = PublisherState()
            else:
                self._publisher_state.keep_unrouted(DECLARED_BY)
        else:
            await channel.get_exchange(self._topology.exchange, ensure=True)
        wait_s = sender.oldest_wait_s()
        if wait_s > _CONFIRM_WITHIN_S:
            raise ConnectionError(f"a message has not been confirmed for {wait_s:.0f} s")

    async def _failure_reason(self) -> str:
        """Why publishing can't succeed now; empty if it can."""
        sender = self._sender
        if sender is None:
            return self._connection_state.reason or "the connection was lost"
        if await is_blocked(sender.channel):
            return f"the broker blocks publishers{sender.blocked_reason and f': {sender.blocked_reason}'}"
        if sender.oldest_wait_s() > self._timeout_s:
            return "the broker answers and confirms nothing; one of its queues may have no leader"
        return ""

    async def _send(self, events: Sequence[Event], batch: BatchOutcomes) -> str:
        """Send the events and wait for their outcomes; the reason if one stays unknown."""
        sender, reason = self._sender, await self._failure_reason()
        if sender is None or reason:
            return reason
        try:
            async with asyncio.timeout(self._timeout_s) as timeout:
                with self._expirable(timeout):
                    return await sender.send(events, batch)
        except TimeoutError:
            return await self._failure_reason() or f"none came in {self._timeout_s:g} s"

    @contextmanager
    def _expirable(self, timeout: asyncio.Timeout) -> Iterator[None]:
        """Inside, `_expire_timeouts` ends the timeout early, when waiting has become useless."""
        self._timeouts.add(timeout)
        try:
            yield
        finally:
            self._timeouts.remove(timeout)

    def _expire_timeouts(self) -> None:
        for timeout in self._timeouts:
            if not timeout.expired():
                timeout.reschedule(asyncio.get_running_loop().time())

    def _detach(self, sender: _Sender) -> None:
        """The channel is closed: unconfirmed events stay unknown, and waiting for them ends now."""
        if self._sender is sender:
            self._sender = None
            self._expire_timeouts()


def _outcome(event: Event, outcome: PublishOutcome, reason: str) -> UnroutableError | UnavailableError | None:
    if outcome is PublishOutcome.CONFIRMED:
        return None
    if outcome is PublishOutcome.UNROUTABLE:
        return UnroutableError(f"no queue is bound to {event.type}")
    why = "it refused" if outcome is PublishOutcome.NACKED else reason
    return UnavailableError(f"the broker did not confirm {event.type}: {why}")
