"""Why there is no connection to RabbitMQ, in the broker's own words where it said any.

A broker that refuses says why in a `Connection.Close`. Once connected the library hands that on; before, it
tells of most as a frame that it did not expect, and of another protocol as a frame that is no frame. So the
bytes of the handshake are listened to.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from typing import TYPE_CHECKING, Any, Final

from aiormq.exceptions import AMQPError
from pamqp import commands as spec
from pamqp.constants import FRAME_BODY, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD
from pamqp.exceptions import PAMQPException
from pamqp.frame import unmarshal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

_FRAMES: Final = {FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT}
_TLS_ALERT: Final = 21
_MOST_HEARD: Final = 65_536
_MOST_SHOWN: Final = 40
_FOR_OPERATOR: Final = ("ACCESS_REFUSED", "NOT_ALLOWED", "the port ", "the broker's ", "TLS failed", "cafile")
_ADDRESS: Final = re.compile(r" object at 0x[0-9a-f]+")


class HandshakeReader:
    """A stream reader, and what was read of it until the handshake is over; after that it costs nothing."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._heard = bytearray()
        self._is_at_end = False
        self.readexactly: Callable[[int], Awaitable[bytes]] = self._listen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def finish(self) -> None:
        """The handshake is over."""
        self.readexactly = self._reader.readexactly

    def refusal(self) -> str:
        """Why the other side refuses, as far as it said so; nothing if it did not."""
        heard = bytes(self._heard)
        if not heard:
            return "the connection was closed without an answer" if self._is_at_end else ""
        if heard.startswith(b"AMQP"):
            return "the port speaks another version of AMQP"
        if heard[0] == _TLS_ALERT:
            return "the port expects TLS, amqps://"
        if heard[0] not in _FRAMES:
            return f"the port does not speak AMQP: {heard[:_MOST_SHOWN]!r}"
        closes = (frame for frame in _frames(heard) if isinstance(frame, spec.Connection.Close))
        close = next(closes, None)
        return "" if close is None else str(close.reply_text)

    async def _listen(self, count: int) -> bytes:
        try:
            data = await self._reader.readexactly(count)
        except asyncio.IncompleteReadError as error:
            self._heard += error.partial
            self._is_at_end = True
            raise
        if len(self._heard) < _MOST_HEARD:
            self._heard += data
        return data


def _frames(data: bytes) -> Iterator[object]:
    while data:
        try:
            size, _, frame = unmarshal(data)
        except (PAMQPException, ValueError):  # the rest of one did not come
            return
        yield frame
        data = data[size:]


def words_of(error: BaseException) -> str:
    """Why a connection or channel failed, in words that are the same each time it fails for that reason."""
    cause = error.__cause__ or error
    if isinstance(cause, OSError) and cause.strerror:
        return _words_of_system(cause)
    if isinstance(error, AMQPError) and error.args:
        words = str(error.args[-1])
    else:
        words = str(error) or type(error).__name__
    return _ADDRESS.sub("", words)


def is_for_operator(words: str) -> bool:
    """Whether what kept a connection from being made is the URL's, the account's or a certificate's fault."""
    return words.startswith(_FOR_OPERATOR)


def _words_of_system(error: OSError) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"the broker's certificate is not trusted: {error.verify_message}"
        case ssl.SSLError(reason="WRONG_VERSION_NUMBER"):
            return "the port does not speak TLS"
        case ssl.SSLError():
            return f"TLS failed: {error.reason or error}"
        case FileNotFoundError():
            return f"cafile, certfile or keyfile: {error.strerror}"
        case socket.gaierror():
            return f"the broker's host name can't be resolved: {error.strerror}"
    return str(error.strerror)
