"""Being connected to RabbitMQ: one connection, one channel and the topology, made anew after every loss.

The publisher and the consumer each keep a connection of their own: short of memory, the broker stops
reading from a connection that publishes, and acks on it would wait too.

The library's robust connection is not used: it replays on a channel what was declared there, and where
that fails it has no second way. Its consumer (aio-pika 10.2.1) stayed deaf after an exchange was deleted
together with its queue. Here whatever ends a channel ends the connection, and the next one begins with
everything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

import aio_pika
from aio_pika.abc import AbstractChannel
from yarl import URL

from shared.broker.rabbitmq.aiormq_internals import Transport
from shared.broker.rabbitmq.nodes import urls_of_nodes
from shared.broker.rabbitmq.refusals import words_of
from shared.events import EventType
from shared.runtime.retry import jittered_pause_s
from shared.runtime.supervision import failure_of, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiormq.abc import AbstractChannel as UnderlayChannel

    from shared.broker.rabbitmq.connection_state import Standing
    from shared.broker.topology import Topology

_RECONNECT_FIRST_S: Final = 1.0
_RECONNECT_LONGEST_S: Final = 5.0
# A connection after one that was lost has to last for so long until it is taken for well: one without the
# right to write lasts until the first publish.
_PROVEN_AFTER_S: Final = 1.0
# Whoever waits on a connection that ends hears of it before what tells why.
_LAST_WORDS_WITHIN_S: Final = 0.5
_HEARTBEAT_S: Final = 15  # aiormq gives a silent broker three of them and 3 s: 48 s
_CLOSE_TIMEOUT_S: Final = 3.0
_DROP_WITHIN_S: Final = 0.5  # what can't be dropped is left behind
# A black hole shows after 15 s at the latest, long before the heartbeats tell.
_LOOK_EVERY_S: Final = 5.0
_LOOK_WITHIN_S: Final = 10.0
_DELIVERY_LIMIT: Final = 20  # RabbitMQ 4's default; 3.x has none

End: TypeAlias = Callable[[str], None]
Look: TypeAlias = Callable[[], Awaitable[None]]
Attach: TypeAlias = Callable[[AbstractChannel, End], AbstractAsyncContextManager[Look]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where the broker is, what it has to hold, and what it calls this connection.

    Attributes:
        url: Of the broker, or of each node of a cluster with commas between them, tried in turn.
        standing: What is to be known of the connection.
    """

    url: str = field(repr=False)
    name: str
    topology: Topology
    connect_timeout_s: float
    standing: Standing


@asynccontextmanager
async def keep_connected(link: Link, attach: Attach) -> AsyncIterator[None]:
    """Inside, there is a connection whenever the broker is there.

    It begins after the first attempt, whether that succeeded or not. Each channel is held by ``attach``,
    from when the topology is declared until the channel is lost, or ended with the function given. Every few
    seconds the function that ``attach`` yields looks whether the channel still works, and raises if not.
    """
    attempted = asyncio.Event()
    async with running(partial(_stay_connected, link, attach, attempted), link.name):
        await attempted.wait()
        yield


async def is_blocked(channel: UnderlayChannel) -> bool:
    """Whether the broker has said that it reads nothing that is published here: it is short of something."""
    try:
        async with asyncio.timeout(0):
            await channel.connection.ready()
    except TimeoutError:
        return True
    return False


async def _stay_connected(link: Link, attach: Attach, attempted: asyncio.Event) -> None:
    for url in cycle(urls_of_nodes(link.url)):
        # A dying channel cancels who waits on it: that must end the connection and not this loop.
        failure = await failure_of(_connect_once(link, url, attach, attempted))
        link.standing.lose(words_of(failure or ConnectionError("it ended")))
        attempted.set()
        await asyncio.sleep(
            jittered_pause_s(
                link.standing.failures, first_s=_RECONNECT_FIRST_S, longest_s=_RECONNECT_LONGEST_S
            )
        )


async def _connect_once(link: Link, url: str, attach: Attach, attempted: asyncio.Event) -> NoReturn:
    """Be connected to the node at this URL.

    Raises:
        ConnectionError: Why that ended; whatever else the library raises means the same.
    """
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with open_connection(url, link.name, within_s=link.connect_timeout_s) as connection:
        connection.close_callbacks.add(lambda _, error: _end_by(ended, error))
        failure = await failure_of(_use(connection, link, attach, attempted, ended))
        await asyncio.wait([ended], timeout=_LAST_WORDS_WITHIN_S)
    raise ConnectionError(ended.result() if ended.done() else words_of(failure or ConnectionError()))


async def _use(
    connection: aio_pika.Connection,
    link: Link,
    attach: Attach,
    attempted: asyncio.Event,
    ended: asyncio.Future[str],
) -> None:
    async with AsyncExitStack() as stack:
        async with _time_limit(link.connect_timeout_s):
            channel = await connection.channel(on_return_raises=True)
            channel.close_callbacks.add(lambda _, error: _end_by(ended, error))
            await declare(channel, link.topology)
            look = await stack.enter_async_context(attach(channel, partial(_end, ended)))
        attempted.set()
        if not link.standing.failures:
            link.standing.stand()
        look_after_s = _PROVEN_AFTER_S
        while not ended.done():
            await asyncio.wait([ended], timeout=look_after_s)
            if not ended.done():
                async with _time_limit(_LOOK_WITHIN_S):
                    await look()
                link.standing.stand()
            look_after_s = _LOOK_EVERY_S


@asynccontextmanager
async def _time_limit(limit_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(limit_s):
            yield
    except TimeoutError:
        raise ConnectionError(f"no answer within {limit_s:g} s") from None


def _end_by(ended: asyncio.Future[str], error: BaseException | None) -> None:
    """It ends by an error of the library's; a cancellation says nothing, and another error follows."""
    if isinstance(error, Exception):
        _end(ended, words_of(error))


def _end(ended: asyncio.Future[str], reason: str) -> None:
    if not ended.done():
        ended.set_result(reason)


@asynccontextmanager
async def open_connection(url: str, name: str, *, within_s: float) -> AsyncIterator[aio_pika.Connection]:
    """Be connected for as long as the context is open.

    Raises:
        ConnectionError: There is no connection, for this reason.
    """
    # Not `aio_pika.connect`: one that fails leaves its connection to the garbage collector, which has it
    # close itself in whatever thread it runs, where that is a coroutine that is never awaited.
    connection = aio_pika.Connection(
        URL(url).update_query(heartbeat=_HEARTBEAT_S), client_properties={"connection_name": name}
    )
    transport = Transport(connection)
    try:
        await _shake_hands(connection, transport, within_s)
        yield connection
    finally:
        await _close(connection, transport)


async def _shake_hands(connection: aio_pika.Connection, transport: Transport, within_s: float) -> None:
    try:
        async with _time_limit(within_s):
            failure = await failure_of(connection.connect())
    except ConnectionError as error:
        failure = error
    if failure is not None:
        raise ConnectionError(transport.refusal() or words_of(failure)) from None
    transport.finish_handshake()


async def _close(connection: aio_pika.Connection, transport: Transport) -> None:
    """Say goodbye, and drop the connection if that takes too long.

    Saying goodbye can't be cancelled. It lasts for as long as the broker does not read, and a broker that is
    short of memory does not read from publishers.
    """
    # A failure must not take the place of the cancellation that may have brought us here.
    closing = asyncio.create_task(failure_of(connection.close()))
    try:
        await asyncio.wait([closing], timeout=_CLOSE_TIMEOUT_S)
    finally:
        transport.abort()  # also what an interrupted attempt had opened before it was the connection's
    await asyncio.wait([closing], timeout=_DROP_WITHIN_S)


async def declare(channel: AbstractChannel, topology: Topology) -> None:
    """Make sure of every exchange and queue, so that no event finds the broker without a queue for it."""
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
