"""The internals of aiormq that we use, tested with a scripted broker: fails when an upgrade changes them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aio_pika
import pytest
from pamqp import commands as spec
from pamqp.body import ContentBody
from pamqp.frame import marshal, unmarshal
from pamqp.header import ContentHeader
from yarl import URL

from shared.broker.rabbitmq.aiormq_internals import (
    PROVEN,
    Transport,
    installed_versions,
    largest_frame,
    take_over_confirms,
    write,
)
from shared.broker.rabbitmq.connection import is_blocked, open_connection
from shared.runtime.supervision import failure_of
from tests.support.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiormq.abc import AbstractChannel, ConfirmationFrameType
    from pamqp.common import FieldTable
    from pamqp.frame import FrameTypes

_ROOT: Final = Path(__file__).parents[5]
_LIMIT_S: Final = 10
_FRAME_MAX: Final = 8_192
_FRAME_HEAD_BYTES: Final = 7
_ANSWERS: Final = {
    spec.Connection.StartOk: spec.Connection.Tune(channel_max=9, frame_max=_FRAME_MAX, heartbeat=0),
    spec.Connection.Open: spec.Connection.OpenOk(),
    spec.Connection.Close: spec.Connection.CloseOk(),
    spec.Channel.Open: spec.Channel.OpenOk(),
    spec.Confirm.Select: spec.Confirm.SelectOk(),
}


class Broker:
    """The server side of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._received: asyncio.Queue[int] = asyncio.Queue()
        self._reader = reader
        self._writer = writer

    async def talk(self) -> None:
        """Answer the opening of a connection and a channel; record the tags of acknowledgements."""
        await self._reader.readexactly(8)
        capabilities: FieldTable = {"publisher_confirms": True, "basic.nack": True}
        self.say(spec.Connection.Start(server_properties={"capabilities": capabilities}), channel=0)
        while True:
            head = await self._reader.readexactly(_FRAME_HEAD_BYTES)
            rest = await self._reader.readexactly(int.from_bytes(head[3:], "big") + 1)
            _, channel, frame = unmarshal(head + rest)
            if isinstance(frame, spec.Basic.Ack):
                self._received.put_nowait(frame.delivery_tag)
            elif type(frame) in _ANSWERS:
                self.say(_ANSWERS[type(frame)], channel=channel)

    def say(self, *frames: FrameTypes, channel: int = 1) -> None:
        self._writer.write(b"".join(marshal(frame, channel) for frame in frames))

    async def received_tags(self, count: int) -> list[int]:
        async with asyncio.timeout(_LIMIT_S):
            return [await self._received.get() for _ in range(count)]


class Answers:
    """The broker's answers, in order."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._received: asyncio.Queue[object] = asyncio.Queue()
        take_over_confirms(
            channel,
            on_confirm=self._on_confirm,
            on_return=self._received.put_nowait,
            on_blocked=self._received.put_nowait,
        )

    def _on_confirm(self, frame: ConfirmationFrameType) -> None:
        self._received.put_nowait((type(frame), frame.delivery_tag, getattr(frame, "multiple", None)))

    async def next(self) -> object:
        async with asyncio.timeout(_LIMIT_S):
            return await self._received.get()


def an_ack(tag: int) -> bytes:
    return marshal(spec.Basic.Ack(tag), 1)


def url_of(listening: asyncio.Server) -> str:
    return f"amqp://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"


@pytest.fixture
async def connected() -> AsyncIterator[tuple[Broker, AbstractChannel]]:
    brokers: list[Broker] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        brokers.append(Broker(reader, writer))
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await brokers[0].talk()
        writer.close()

    async with (
        await asyncio.start_server(serve, "127.0.0.1", 0) as listening,
        open_connection(url_of(listening), "a test", within_s=_LIMIT_S) as connection,
    ):
        channel = await connection.channel()
        yield brokers[0], await channel.get_underlay_channel()


def test_the_installed_versions_are_those_that_were_proven() -> None:
    assert installed_versions() == PROVEN


async def test_confirms_are_passed_on_as_they_come(connected: tuple[Broker, AbstractChannel]) -> None:
    broker, channel = connected
    answers = Answers(channel)

    broker.say(spec.Basic.Ack(7, multiple=True), spec.Basic.Nack(8))

    assert await answers.next() == (spec.Basic.Ack, 7, True)
    assert await answers.next() == (spec.Basic.Nack, 8, False)


async def test_of_a_returned_message_the_id_is_passed_on_and_its_content_is_read(
    connected: tuple[Broker, AbstractChannel],
) -> None:
    broker, channel = connected
    answers = Answers(channel)
    properties = spec.Basic.Properties(message_id="an id")
    returned = spec.Basic.Return(312, "NO_ROUTE", "an exchange", "a key")
    header = ContentHeader(body_size=13, properties=properties)

    broker.say(returned, header, ContentBody(b"in two "), ContentBody(b"frames"))
    broker.say(spec.Basic.Ack(1))

    assert await answers.next() == "an id"
    assert await answers.next() == (spec.Basic.Ack, 1, False)


async def test_a_block_is_passed_on_with_its_reason_and_ends(
    connected: tuple[Broker, AbstractChannel],
) -> None:
    broker, channel = connected
    answers = Answers(channel)

    async def is_unblocked() -> bool:
        return not await is_blocked(channel)

    before = await is_blocked(channel)

    broker.say(spec.Connection.Blocked("low on disk"), channel=0)
    reason = await answers.next()
    during = await is_blocked(channel)
    broker.say(spec.Connection.Unblocked(), channel=0)
    await until(is_unblocked)

    assert (before, reason, during) == (False, "low on disk", True)


async def test_a_write_is_sent_unchanged_and_resolves_its_future(
    connected: tuple[Broker, AbstractChannel],
) -> None:
    broker, channel = connected
    drained: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    await write(channel, an_ack(1) + an_ack(2), drained=drained)
    async with asyncio.timeout(_LIMIT_S):
        await drained

    assert await broker.received_tags(2) == [1, 2]


async def test_a_write_that_is_cancelled_sends_nothing(connected: tuple[Broker, AbstractChannel]) -> None:
    broker, channel = connected
    for tag in range(1, 11):  # as many as aiormq lets wait
        await write(channel, an_ack(tag))
    writing = write(channel, an_ack(11))
    writing.send(None)

    with pytest.raises(asyncio.CancelledError):
        writing.throw(asyncio.CancelledError())
    await write(channel, an_ack(12))

    assert await broker.received_tags(11) == [*range(1, 11), 12]


async def test_the_largest_frame_is_the_size_that_the_broker_stated(
    connected: tuple[Broker, AbstractChannel],
) -> None:
    _, channel = connected

    assert largest_frame(channel) == _FRAME_MAX


async def test_a_transport_that_is_dropped_is_gone_at_once() -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await Broker(reader, writer).talk()
        writer.close()
        gone.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening, asyncio.timeout(_LIMIT_S):
        connection = aio_pika.Connection(URL(url_of(listening)))
        transport = Transport(connection)
        await connection.connect()

        transport.abort()
        await gone.wait()
        await failure_of(connection.close())


def test_a_version_that_lacks_what_is_touched_still_imports_the_publisher_and_the_consumer() -> None:
    script = """
import aiormq.abc, aiormq.connection
del aiormq.abc.ChannelFrame, aiormq.connection.TCPTransportFactory, aiormq.connection.TLSTransportFactory
import shared.broker.rabbitmq.consumer, shared.broker.rabbitmq.publisher
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=_ROOT, timeout=60)  # noqa: S603 - it is ours
