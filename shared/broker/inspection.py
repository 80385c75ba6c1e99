"""Look at RabbitMQ without changing it: its nodes, exchanges and queues, and whether it takes messages."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq.exceptions import ChannelAccessRefused
from yarl import URL

from shared.broker.rabbitmq.connection import is_blocked, open_connection, open_connection_to_any
from shared.broker.rabbitmq.nodes import urls_of_nodes
from shared.broker.rabbitmq.refusals import translated_failures
from shared.domain.errors import UnavailableError
from shared.ports.servers import BrokerNode, QueueState
from shared.runtime.process import process_name
from shared.runtime.supervision import failure_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import aio_pika
    from aio_pika.abc import AbstractChannel
    from aiormq.abc import AbstractChannel as UnderlayChannel

    from shared.broker.topology import Topology

_CONNECT_WITHIN_S: Final = 3.0
_LOOK_EVERY_S: Final = 0.05
# A queue that is well answers in milliseconds. Together shorter than a check of the doctor may take.
_ANSWER_WITHIN_S: Final = 3.0
_CLOSE_WITHIN_S: Final = 0.5  # the broker closes no channel on which a queue owes an answer
_INTERNAL_ERROR: Final = "INTERNAL_ERROR"
_SERVICE: Final = "doctor"


async def read_nodes(url: str) -> list[BrokerNode]:
    """Each node that the URL names, with its release or why it can't be used."""
    return list(await asyncio.gather(*map(_read_node, urls_of_nodes(url))))


async def missing_names(url: str, topology: Topology) -> list[str]:
    """The names of our exchanges and queues that the broker does not have.

    Raises:
        UnavailableError: It can't be asked.
    """
    exchanges = [topology.exchange, topology.dead_letter_exchange]
    queues = [topology.submitted_queue, topology.dead_letter_queue]
    async with _open(url) as connection:
        return [name for name in exchanges if not await _has_exchange(connection, name)] + [
            name for name in queues if not await _has_queue(connection, name)
        ]


async def read_queue(url: str, name: str) -> QueueState:
    """The state of a queue.

    Raises:
        UnavailableError: It does not exist, or can't be asked for.
    """
    async with _open(url) as connection:
        channel = await connection.channel()
        declared = (await channel.declare_queue(name, passive=True)).declaration_result
    return QueueState(declared.message_count or 0, declared.consumer_count or 0)


async def queues_without_answer(url: str, names: Sequence[str]) -> list[str]:
    """The names of those queues that don't answer, for instance since they have no leader.

    One that has messages or consumers has answered. Any other is asked for a message; one that comes
    nevertheless goes back. A queue that is not there, or that this user may not read, is left out.

    Raises:
        UnavailableError: The broker can't be asked.
    """
    answers = await asyncio.gather(*(_has_answer(url, name) for name in names))
    return [name for name, has_answer in zip(names, answers, strict=True) if not has_answer]


async def check_publishing(url: str, topology: Topology) -> None:
    """Return if the broker takes an event of ours: it is published in a transaction that is taken back.

    Raises:
        UnavailableError: It refuses it, or blocks publishers.
    """
    async with _open(url) as connection:
        underlay = await (await connection.channel(publisher_confirms=False)).get_underlay_channel()
        await underlay.tx_select()
        await underlay.basic_publish(b"", exchange=topology.exchange, routing_key="isoline.doctor")
        rolling_back = asyncio.create_task(underlay.tx_rollback())
        try:
            await _until_done_or_blocked(rolling_back, underlay)
        finally:
            rolling_back.cancel()
            await failure_of(_wait_for(rolling_back))


async def _has_answer(url: str, name: str) -> bool:
    """On a connection of its own: a queue whose process has ended ends the connection."""
    try:
        async with _open(url, close_within_s=_CLOSE_WITHIN_S) as connection:
            return await _answers(await connection.channel(), name)
    except UnavailableError as error:
        if _INTERNAL_ERROR in str(error):
            return False
        raise


async def _answers(channel: AbstractChannel, name: str) -> bool:
    with suppress(ChannelNotFoundEntity, ChannelAccessRefused):
        queue = await channel.declare_queue(name, passive=True)
        if queue.declaration_result.message_count or queue.declaration_result.consumer_count:
            return True
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                message = await queue.get(fail=False, timeout=None)
        except TimeoutError:
            return False
        if message is not None:
            await message.nack()
    return True


async def _until_done_or_blocked(rolling_back: asyncio.Task[Any], channel: UnderlayChannel) -> None:
    """A broker that is short of memory or disk says so at the first message, and reads no further."""
    while not (await asyncio.wait([rolling_back], timeout=_LOOK_EVERY_S))[0]:
        if await is_blocked(channel):
            raise UnavailableError("RabbitMQ: the broker blocks publishers: it is short of memory or disk")
    rolling_back.result()


async def _wait_for(task: asyncio.Task[Any]) -> None:
    await asyncio.wait([task], timeout=_LOOK_EVERY_S)


async def _read_node(url: str) -> BrokerNode:
    parts = URL(url)
    address = f"{parts.host}:{parts.port}" if parts.port else str(parts.host)
    try:
        async with open_connection(url, process_name(_SERVICE), within_s=_CONNECT_WITHIN_S) as connection:
            return BrokerNode(address, version=_version(connection))
    except ConnectionError as error:
        return BrokerNode(address, refusal=str(error))


def _version(connection: aio_pika.Connection) -> str:
    transport = connection.transport
    found = transport.connection.server_properties.get("version", "") if transport is not None else ""
    return found.decode(errors="replace") if isinstance(found, bytes) else str(found)


@asynccontextmanager
async def _open(url: str, *, close_within_s: float = 3.0) -> AsyncIterator[aio_pika.Connection]:
    within_s = _CONNECT_WITHIN_S / len(urls_of_nodes(url))
    async with (
        translated_failures(),
        open_connection_to_any(
            url, process_name(_SERVICE), within_s=within_s, close_within_s=close_within_s
        ) as connection,
    ):
        yield connection


async def _has_exchange(connection: aio_pika.Connection, name: str) -> bool:
    channel = await connection.channel()  # the broker closes it if there is none
    with suppress(ChannelNotFoundEntity):
        await channel.get_exchange(name, ensure=True)
        return True
    return False


async def _has_queue(connection: aio_pika.Connection, name: str) -> bool:
    channel = await connection.channel()
    with suppress(ChannelNotFoundEntity):
        await channel.declare_queue(name, passive=True)
        return True
    return False
