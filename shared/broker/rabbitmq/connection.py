"""Keep one connection to RabbitMQ with one channel and the topology declared; reconnect after every loss.

The publisher and the consumer each keep a connection of their own: short of memory, the broker stops
reading from a connection that publishes, and acks on it would wait too.

The library's robust connection is not used: it declares again what was declared on a channel, and if that
fails it does not recover. Its consumer (aio-pika 10.2.1) received nothing more after an exchange was deleted
together with its queue. Here the end of a channel ends the connection, and the next one declares everything
again, or checks that it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

import aio_pika
from aio_pika.abc import AbstractChannel
from yarl import URL

from shared.broker.rabbitmq.aiormq_internals import Transport
from shared.broker.rabbitmq.nodes import urls_of_nodes
from shared.broker.rabbitmq.refusals import describe_failure
from shared.broker.topology import declare_or_check
from shared.runtime.retry import backoff_s
from shared.runtime.supervision import background_task, failure_of, raise_if_cancelled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiormq.abc import AbstractChannel as UnderlayChannel

    from shared.broker.rabbitmq.connection_state import ConnectionState
    from shared.broker.topology import Topology

_FIRST_BACKOFF_S: Final = 1.0
_LONGEST_BACKOFF_S: Final = 5.0
# A reconnect counts as a success only after this time: without write permission a connection lasts until the
# first publish.
_STABLE_AFTER_S: Final = 1.0
# A call on a connection that ends may fail before the callback that gives the reason.
_CLOSE_REASON_WITHIN_S: Final = 0.5
_HEARTBEAT_S: Final = 15  # aiormq gives a silent broker three of them and 3 s: 48 s
_CLOSE_TIMEOUT_S: Final = 3.0
_ABORT_WITHIN_S: Final = 0.5  # after that the closing task is abandoned
# A network that drops packets is noticed after 15 s at the latest, long before missing heartbeats.
_PROBE_EVERY_S: Final = 5.0
_PROBE_WITHIN_S: Final = 10.0

EndChannel: TypeAlias = Callable[[str], None]
Probe: TypeAlias = Callable[[], Awaitable[None]]
Redeclare: TypeAlias = Callable[[], Awaitable[bool]]
Attach: TypeAlias = Callable[[AbstractChannel, EndChannel, Redeclare], AbstractAsyncContextManager[Probe]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions:
    """How to connect.

    Attributes:
        url: Of the broker, or of each node of a cluster with commas between them, tried in turn.
        name: Of the connection, as the broker lists it.
        topology: Exchanges and queues, declared on every connect if the user has the right to.
        connect_timeout_s: Limit of one attempt.
        state: Updated whenever the connection is opened or lost.
    """

    url: str = field(repr=False)
    name: str
    topology: Topology
    connect_timeout_s: float
    state: ConnectionState


@asynccontextmanager
async def keep_connected(options: ConnectionOptions, attach: Attach) -> AsyncIterator[None]:
    """Connect, and reconnect after every loss, while the context is open; it opens after the first attempt.

    For each channel, once the topology is there, ``attach`` is entered, and left when the channel is lost or
    ended by the first function that ``attach`` gets. The second one declares the topology again, and tells
    whether the user has the right to. Every 5 s the probe that ``attach`` yields checks that the channel
    still works, and raises if not.
    """
    attempted = asyncio.Event()
    async with background_task(partial(_reconnect_forever, options, attach, attempted), options.name):
        await attempted.wait()
        yield


async def is_blocked(channel: UnderlayChannel) -> bool:
    """Whether the broker blocks publishers on this connection, because it is short of memory or disk."""
    try:
        async with asyncio.timeout(0):
            await channel.connection.ready()
    except TimeoutError:
        return True
    return False


async def _reconnect_forever(options: ConnectionOptions, attach: Attach, attempted: asyncio.Event) -> None:
    for url in cycle(urls_of_nodes(options.url)):
        # A channel that closes cancels calls on it: that must end the connection and not this loop.
        failure = await failure_of(_connect_once(options, url, attach, attempted))
        options.state.mark_lost(describe_failure(failure or ConnectionError("it ended")))
        attempted.set()
        await asyncio.sleep(
            backoff_s(options.state.failures, first_s=_FIRST_BACKOFF_S, longest_s=_LONGEST_BACKOFF_S)
        )


async def _connect_once(
    options: ConnectionOptions, url: str, attach: Attach, attempted: asyncio.Event
) -> NoReturn:
    """Connect to the node at this URL and stay connected until the connection ends.

    Raises:
        ConnectionError: Why it ended; any other exception of the library means the same.
    """
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with open_connection(url, options.name, within_s=options.connect_timeout_s) as connection:
        connection.close_callbacks.add(lambda _, error: _end_connection_with_error(ended, error))
        failure = await failure_of(_use_channel(connection, options, attach, attempted, ended))
        await asyncio.wait([ended], timeout=_CLOSE_REASON_WITHIN_S)
        _end_connection_with_error(ended, failure or ConnectionError())  # before closing gives another reason
    raise ConnectionError(ended.result())


async def _use_channel(
    connection: aio_pika.Connection,
    options: ConnectionOptions,
    attach: Attach,
    attempted: asyncio.Event,
    ended: asyncio.Future[str],
) -> None:
    async with AsyncExitStack() as stack:
        async with _time_limit(options.connect_timeout_s):
            redeclare = partial(declare_or_check, connection, options.topology)
            await redeclare()
            channel = await connection.channel(on_return_raises=True)
            channel.close_callbacks.add(lambda _, error: _end_connection_with_error(ended, error))
            end = partial(_end_connection, ended)
            probe = await stack.enter_async_context(attach(channel, end, redeclare))
        attempted.set()
        if not options.state.failures:
            options.state.mark_connected()
        probe_after_s = _STABLE_AFTER_S
        while not ended.done():
            await asyncio.wait([ended], timeout=probe_after_s)
            if not ended.done():
                with options.state.asking():
                    async with _time_limit(_PROBE_WITHIN_S):
                        await probe()
                options.state.mark_connected()
            probe_after_s = _PROBE_EVERY_S


@asynccontextmanager
async def _time_limit(limit_s: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(limit_s):
            yield
            # The library's `Channel.close` suppresses it when the channel ends at the same time.
            raise_if_cancelled()
    except TimeoutError:
        raise ConnectionError(f"no answer within {limit_s:g} s") from None


def _end_connection_with_error(ended: asyncio.Future[str], error: BaseException | None) -> None:
    """EndChannel with the library's error; a cancellation gives no reason, and another error follows it."""
    if isinstance(error, Exception):
        _end_connection(ended, describe_failure(error))


def _end_connection(ended: asyncio.Future[str], reason: str) -> None:
    if not ended.done():
        ended.set_result(reason)


@asynccontextmanager
async def open_connection(
    url: str, name: str, *, within_s: float, close_within_s: float = _CLOSE_TIMEOUT_S
) -> AsyncIterator[aio_pika.Connection]:
    """Open a connection, closed with the context, and dropped if that takes too long.

    Raises:
        ConnectionError: It could not be opened, for this reason.
    """
    # Not `aio_pika.connect`: when it fails, the garbage collector closes its connection, in any thread, by a
    # coroutine that is never awaited.
    connection = aio_pika.Connection(
        URL(url).update_query(heartbeat=_HEARTBEAT_S), client_properties={"connection_name": name}
    )
    transport = Transport(connection)
    try:
        await _handshake(connection, transport, within_s)
        yield connection
    finally:
        await _close(connection, transport, close_within_s)


@asynccontextmanager
async def open_connection_to_any(
    url: str, name: str, *, within_s: float, close_within_s: float = _CLOSE_TIMEOUT_S
) -> AsyncIterator[aio_pika.Connection]:
    """Open a connection to the first node that answers, closed with the context.

    Args:
        url: Of the broker, or of each node of a cluster with commas between them.
        name: Of the connection, as the broker lists it.
        within_s: Limit for each node.
        close_within_s: How long closing may take before the connection is dropped.

    Raises:
        ConnectionError: Why none was opened to the last node.
    """
    *others, last = urls_of_nodes(url)
    open_node = partial(open_connection, name=name, within_s=within_s, close_within_s=close_within_s)
    async with AsyncExitStack() as opened:
        for node in others:
            with suppress(ConnectionError):
                connection = await opened.enter_async_context(open_node(node))
                break
        else:
            connection = await opened.enter_async_context(open_node(last))
        yield connection


async def _handshake(connection: aio_pika.Connection, transport: Transport, within_s: float) -> None:
    try:
        async with _time_limit(within_s):
            failure = await failure_of(connection.connect())
    except ConnectionError as error:
        failure = error
    if failure is not None:
        raise ConnectionError(transport.refusal() or describe_failure(failure)) from None
    transport.finish_handshake()


async def _close(connection: aio_pika.Connection, transport: Transport, within_s: float) -> None:
    """Close the connection in order, and abort its transport if that takes too long.

    The library's close can't be cancelled. It lasts as long as the broker does not read, and a broker that is
    short of memory does not read from publishers.
    """
    # A failure must not replace the cancellation that may have led here.
    closing = asyncio.create_task(failure_of(connection.close()))
    try:
        await asyncio.wait([closing], timeout=within_s)
    finally:
        transport.abort()  # also a socket of an interrupted attempt, which the connection does not know yet
    await asyncio.wait([closing], timeout=_ABORT_WITHIN_S)
