"""The one file that reaches into aiormq and aio-pika, with the versions in `PROVEN` only.

With any other version the log says so once, and the adapters use documented methods alone. That is slower:
each event is published, and each acknowledgement sent, by itself. The reason of a refused connection is then
the library's own text, and a connection that can't be closed in order is abandoned instead of aborted.

What is used, none of it private or documented unless said:

* `aiormq.Channel._on_confirm_frame` and `._on_return_frame` (private) are replaced. The library makes two
  futures and a task for each message; we match publisher confirms by tag.
* `aiormq.Channel._get_frame` and `._read_content` (private) read the content that follows a `Basic.Return`.
* `aiormq.Connection.__handle_connection_blocked` (private) is wrapped: it reports at once that the broker
  blocks publishers, and which resource it is short of.
* `aiormq.Connection.connection_tune` has the largest frame that the broker takes.
* `aiormq.Connection.write_queue` takes an `aiormq.abc.ChannelFrame`: the bytes of one write.
* `aio_pika.Connection.kwargs` go to `aiormq.connect`, whose `transport_factory` we are. Through
  `aiormq.connection.TCPTransportFactory` and `TLSTransportFactory` it makes what the library would make.

These names are looked up when they are used: a version that lacks one still imports this file.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, cast

import aiormq.abc
import aiormq.connection

from shared.broker.rabbitmq.refusals import HandshakeReader
from shared.observability.logs import Logger

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    import aio_pika
    from aiormq.abc import AbstractChannel, ConfirmationFrameType
    from pamqp import commands as spec
    from pamqp.header import ContentHeader
    from yarl import URL

# The versions with which `tests/contracts` was run. Run it when you renew the locks, then change these.
PROVEN: Final = {"aio-pika": "10.2.1", "aiormq": "7.2.4", "pamqp": "4.0.1"}

_log = Logger(__name__)


def installed_versions() -> dict[str, str]:
    """The versions of the libraries that are installed."""
    return {library: version(library) for library in PROVEN}


@cache
def is_proven() -> bool:
    """Whether these versions are the `PROVEN` ones; the first call logs that they are not."""
    installed = installed_versions()
    if installed != PROVEN:
        _log.warning(
            "events are published and acknowledged one by one, which is slower",
            installed=installed,
            proven=PROVEN,
        )
    return installed == PROVEN


def largest_frame(channel: AbstractChannel) -> int:
    """The size of the largest frame that the broker takes, in bytes; 0 if it stated none."""
    return channel.connection.connection_tune.frame_max or 0


async def write(
    channel: AbstractChannel, frames: bytes, *, drained: asyncio.Future[None] | None = None
) -> None:
    """Queue marshalled frames for one write; cancelled, none of them is queued.

    Args:
        channel: Its connection writes them.
        frames: As they go over the wire.
        drained: Is resolved when they have left our buffers.
    """
    frame = aiormq.abc.ChannelFrame(payload=frames, should_close=False, drain_future=drained)
    await channel.connection.write_queue.put(frame)


def take_over_confirms(
    channel: AbstractChannel,
    *,
    on_confirm: Callable[[ConfirmationFrameType], None],
    on_return: Callable[[str | None], None],
    on_blocked: Callable[[str], None],
) -> None:
    """Pass the broker's confirms and returns to these callbacks; the library's own publish stops working.

    Args:
        channel: The publishing channel.
        on_confirm: Called with each ack or nack of a message.
        on_return: Called with the id of each unroutable message.
        on_blocked: Called when the broker blocks publishers, with the reason that it gives.
    """
    inside = cast("Any", channel)
    handle_blocked = inside.connection._Connection__handle_connection_blocked

    async def confirm(frame: ConfirmationFrameType) -> None:
        on_confirm(frame)

    async def return_message(frame: spec.Basic.Return) -> None:
        header: ContentHeader = await inside._get_frame()
        await inside._read_content(frame, header)
        on_return(header.properties.message_id)

    async def block(frame: spec.Connection.Blocked) -> None:
        await handle_blocked(frame)
        on_blocked(frame.reason or "")

    inside._on_confirm_frame = confirm
    inside._on_return_frame = return_message
    inside.connection._Connection__handle_connection_blocked = block


class Transport:
    """The socket of one connection: its handshake is recorded, and it can be aborted.

    With versions that are not `PROVEN` neither happens.
    """

    def __init__(self, connection: aio_pika.Connection) -> None:
        self._reader: HandshakeReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        if is_proven():
            connection.kwargs["transport_factory"] = self

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect as the library would; the library calls this."""
        library = aiormq.connection
        factory = library.TLSTransportFactory() if url.scheme == "amqps" else library.TCPTransportFactory()
        reader, self._writer = await factory.create(url, **kwargs)
        self._reader = HandshakeReader(reader)
        return cast("asyncio.StreamReader", self._reader), self._writer

    def refusal(self) -> str:
        """Why the other side refuses, as far as it said so; nothing if it did not."""
        return self._reader.refusal() if self._reader is not None else ""

    def finish_handshake(self) -> None:
        """The handshake is over: record nothing more."""
        if self._reader is not None:
            self._reader.finish()

    def abort(self) -> None:
        """Drop the connection and its unsent bytes."""
        if self._writer is not None:
            self._writer.transport.abort()
