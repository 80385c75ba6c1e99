"""Why there is no connection to RabbitMQ, in the broker's own words where it said any.

A broker that refuses says why in a `Connection.Close`. Once connected, the library passes that on; during the
handshake it reports an unexpected or malformed frame instead. So the bytes of the handshake are recorded.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from aiormq.exceptions import AMQPError
from pamqp import commands as spec
from pamqp.constants import FRAME_BODY, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD
from pamqp.exceptions import PAMQPException
from pamqp.frame import unmarshal

from shared.domain.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

_FRAMES: Final = {FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT}
_TLS_ALERT: Final = 21
_MAX_RECORDED_BYTES: Final = 65_536
_MAX_SHOWN_BYTES: Final = 40
_FOR_OPERATOR: Final = ("ACCESS_REFUSED", "NOT_ALLOWED", "the port ", "the broker's ", "TLS failed", "cafile")
_ADDRESS: Final = re.compile(r" object at 0x[0-9a-f]+")


class HandshakeReader:
    """A stream reader that records the bytes of the handshake; after that it costs nothing."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._recorded = bytearray()
        self._is_at_end = False
        self.readexactly: Callable[[int], Awaitable[bytes]] = self._read_and_record

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def finish(self) -> None:
        """The handshake is over."""
        self.readexactly = self._reader.readexactly

    def refusal(self) -> str:
        """Why the other side refused the connection; empty if it gave no reason."""
        recorded = bytes(self._recorded)
        if not recorded:
            return "the connection was closed without an answer" if self._is_at_end else ""
        if recorded.startswith(b"AMQP"):
            return "the port speaks another version of AMQP"
        if recorded[0] == _TLS_ALERT:
            return "the port expects TLS, amqps://"
        if recorded[0] not in _FRAMES:
            return f"the port does not speak AMQP: {recorded[:_MAX_SHOWN_BYTES]!r}"
        closes = (frame for frame in _frames(recorded) if isinstance(frame, spec.Connection.Close))
        close = next(closes, None)
        return "" if close is None else str(close.reply_text)

    async def _read_and_record(self, count: int) -> bytes:
        try:
            data = await self._reader.readexactly(count)
        except asyncio.IncompleteReadError as error:
            self._recorded += error.partial
            self._is_at_end = True
            raise
        if len(self._recorded) < _MAX_RECORDED_BYTES:
            self._recorded += data
        return data


def _frames(data: bytes) -> Iterator[object]:
    while data:
        try:
            size, _, frame = unmarshal(data)
        except (PAMQPException, ValueError):  # the last frame is incomplete
            return
        yield frame
        data = data[size:]


def describe_failure(error: BaseException) -> str:
    """Why a connection or channel failed; the same text each time it fails for the same reason."""
    cause = error.__cause__ or error
    if isinstance(cause, OSError) and cause.strerror:
        return _describe_os_error(cause)
    if isinstance(error, AMQPError) and error.args and error.args[-1] is not None:
        words = str(error.args[-1])
    else:
        words = str(error) or type(error).__name__
    return _ADDRESS.sub("", words)


def is_for_operator(words: str) -> bool:
    """Whether an operator must act: the URL, the account or a certificate is wrong."""
    return words.startswith(_FOR_OPERATOR)


@asynccontextmanager
async def translated_failures() -> AsyncIterator[None]:
    """Turn the library's errors, and its cancellation of calls on a channel that closes, into ours.

    Raises:
        UnavailableError: A connection, a channel or a call on it failed, for this reason.
    """
    try:
        yield
    except (AMQPError, OSError, RuntimeError, asyncio.CancelledError) as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling()):
            raise
        words = describe_failure(error)
        raise UnavailableError(f"RabbitMQ: {words}", needs_operator=is_for_operator(words)) from error


def _describe_os_error(error: OSError) -> str:
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
