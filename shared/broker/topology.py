"""Name and declare the exchanges and queues; subscribers rely on the exchange's name.

A service declares them on every connect. One whose user has no right to configure only checks that they are
there: then an administrator's `isoline topology apply` declares them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import aio_pika
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from shared.events import EventType
from shared.runtime.supervision import failure_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aio_pika.abc import AbstractChannel, AbstractConnection

_DELIVERY_LIMIT: Final = 20  # RabbitMQ 4's default; 3.x has none
# A call on a channel that ends may fail before the callback that gives the reason.
_CLOSE_REASON_WITHIN_S: Final = 0.5

DECLARED_BY: Final = "this user has no right to declare it, an administrator's `isoline topology apply` does"


@dataclass(frozen=True, slots=True)
class Topology:
    """The names at one broker, each with a prefix, so that several installations can share the broker.

    Attributes:
        namespace: The prefix.
        is_for_subscribers_alone: Whether there is nothing but the exchange of events, because the processors
            of this installation get their work otherwise.
    """

    namespace: str = ""
    is_for_subscribers_alone: bool = False

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
    events = await channel.declare_exchange(topology.exchange, aio_pika.ExchangeType.TOPIC, durable=True)
    if topology.is_for_subscribers_alone:
        return
    dead_letters = await channel.declare_exchange(
        topology.dead_letter_exchange, aio_pika.ExchangeType.FANOUT, durable=True
    )
    dead = await channel.declare_queue(
        topology.dead_letter_queue, durable=True, arguments={"x-queue-type": "quorum"}
    )
    await dead.bind(dead_letters)
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


async def check_declared(channel: AbstractChannel, topology: Topology) -> None:
    """Check that every exchange and queue exists, for which RabbitMQ asks for no permission.

    Whether they are bound can't be asked so; an event that is not routed tells.

    Raises:
        ChannelNotFoundEntity: One does not exist; the channel is closed.
    """
    await channel.get_exchange(topology.exchange, ensure=True)
    if topology.is_for_subscribers_alone:
        return
    await channel.get_exchange(topology.dead_letter_exchange, ensure=True)
    for queue in (topology.dead_letter_queue, topology.submitted_queue):
        await channel.declare_queue(queue, passive=True)


async def declare_or_check(connection: AbstractConnection, topology: Topology) -> bool:
    """Declare every exchange and queue or, without the right to, check that they exist; whether declared.

    On channels of its own, for the broker closes one on which it refuses something.

    Raises:
        ConnectionError: One does not exist, and the user may not declare it.
    """
    failure = await _failure_on_own_channel(connection, declare, topology)
    if not isinstance(failure, ChannelAccessRefused):
        if failure is not None:
            raise failure
        return True
    failure = await _failure_on_own_channel(connection, check_declared, topology)
    if isinstance(failure, ChannelNotFoundEntity):
        raise ConnectionError(f"{failure.args[-1]}; {DECLARED_BY}")
    if failure is not None:
        raise failure
    return False


async def _failure_on_own_channel(
    connection: AbstractConnection,
    call: Callable[[AbstractChannel, Topology], Awaitable[None]],
    topology: Topology,
) -> BaseException | None:
    """The exception of a call on a new channel, or why the broker closed that; None if it succeeded."""
    closed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    def keep_reason(_: object, error: BaseException | None) -> None:
        if isinstance(error, Exception) and not closed.done():
            closed.set_result(error)

    channel = await connection.channel()
    channel.close_callbacks.add(keep_reason)
    failure = await failure_of(call(channel, topology))
    if failure is None:
        await channel.close()
        return None
    await asyncio.wait([closed], timeout=_CLOSE_REASON_WITHIN_S)
    return closed.result() if closed.done() else failure
