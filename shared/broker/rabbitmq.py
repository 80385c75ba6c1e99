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
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel
from aio_pika.connection import make_url
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory

from shared.broker.nodes import urls_of_nodes
from shared.events import EventType
from shared.supervision import failure_of, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiormq.abc import AbstractChannel as UnderlayChannel
    from yarl import URL

    from shared.broker.topology import Topology

_RECONNECT_INTERVAL_S: Final = 1.0
_HEARTBEAT_S: Final = 15  # aiormq gives a silent broker three of them and 3 s: 48 s
_CLOSE_TIMEOUT_S: Final = 3.0
# A black hole shows after 15 s at the latest, long before the heartbeats tell.
_LOOK_EVERY_S: Final = 5.0
_LOOK_WITHIN_S: Final = 10.0
_DELIVERY_LIMIT: Final = 20  # RabbitMQ 4's default; 3.x has none

_log = structlog.get_logger(__name__)

End: TypeAlias = Callable[[str], None]
Look: TypeAlias = Callable[[], Awaitable[None]]
Attach: TypeAlias = Callable[[AbstractChannel, End], AbstractAsyncContextManager[Look]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where the broker is, what it has to hold, and what it calls this connection.

    Attributes:
        url: Of the broker, or of each node of a cluster with commas between them, tried in turn.
    """

    url: str = field(repr=False)
    name: str
    topology: Topology
    connect_timeout_s: float


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


async def is_unblocked(channel: UnderlayChannel, *, within_s: float) -> bool:
    """Whether the broker reads what is published here; it does not while it is short of memory."""
    try:
        async with asyncio.timeout(within_s):
            await channel.connection.ready()
    except TimeoutError:
        return False
    return True


async def _stay_connected(link: Link, attach: Attach, attempted: asyncio.Event) -> None:
    told = None
    for url in cycle(urls_of_nodes(link.url)):
        # A dying channel cancels who waits on it: that must end the connection and not this loop.
        reason = repr(await failure_of(_connect_once(link, url, attach, attempted)))
        if reason != told:  # one record when it is gone, not one each second
            _log.warning("broker is away", connection=link.name, reason=reason)
        told = reason
        attempted.set()
        await asyncio.sleep(_RECONNECT_INTERVAL_S)


async def _connect_once(link: Link, url: str, attach: Attach, attempted: asyncio.Event) -> NoReturn:
    """Be connected to the node at this URL.

    Raises:
        ConnectionError: Why that ended; whatever else the library raises means the same.
    """
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(link.connect_timeout_s):
            connection = await stack.enter_async_context(_open_connection(url, link.name))
            channel = await connection.channel(on_return_raises=True)
            channel.close_callbacks.add(lambda _, error: _end(ended, repr(error)))
            await _declare(channel, link.topology)
            look = await stack.enter_async_context(attach(channel, partial(_end, ended)))
        _log.info("broker is connected", connection=link.name)
        attempted.set()
        while not ended.done():
            await asyncio.wait([ended], timeout=_LOOK_EVERY_S)
            async with asyncio.timeout(_LOOK_WITHIN_S):
                await look()
        raise ConnectionError(ended.result())


def _end(ended: asyncio.Future[str], reason: str) -> None:
    if not ended.done():
        ended.set_result(reason)


@asynccontextmanager
async def _open_connection(url: str, name: str) -> AsyncIterator[_Connection]:
    # Not `aio_pika.connect`: one that fails leaves its connection to the garbage collector, which has it
    # close itself in whatever thread it runs, where that is a coroutine that is never awaited.
    connection = _Connection(
        make_url(url, heartbeat=_HEARTBEAT_S), client_properties={"connection_name": name}
    )
    try:
        await connection.connect()
        yield connection
    finally:
        abort = asyncio.get_running_loop().call_later(_CLOSE_TIMEOUT_S, connection.abort)
        # A failure must not take the place of the cancellation that may have brought us here.
        await failure_of(connection.close())
        abort.cancel()
        connection.abort()  # what an attempt had opened that was interrupted before it was the connection's


class _Connection(aio_pika.Connection):
    """A connection that can be dropped.

    Closing one says goodbye first and can't be cancelled. That waits for as long as the broker does not
    read, which is what it does to publishers while it is short of memory.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._transports = self.kwargs["transport_factory"] = _Transports()

    def abort(self) -> None:
        """Drop it, and whatever was still to be sent."""
        self._transports.abort()


class _Transports(TransportFactory):
    """The library's own transports, remembered."""

    def __init__(self) -> None:
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        factory = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, self._writer = await factory.create(url, **kwargs)
        return reader, self._writer

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


async def _declare(channel: AbstractChannel, topology: Topology) -> None:
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
