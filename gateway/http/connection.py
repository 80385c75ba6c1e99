"""The connections of the HTTP server, with bounds that aiohttp's own don't have.

aiohttp bounds the length of each line of a head, but not the time that a head takes nor its length as a
whole. It answers a broken head in plain text that repeats it, with a record in the log that does the same;
leaves a request waiting whose body breaks off; and drops the rest of bodies that are on their way when it has
to end.

This is the one file that knows aiohttp's insides. It touches one private attribute, `_messages` of
`web.RequestHandler`: the requests that are parsed and have not begun, each a message and its body. With a
version that is not among `PROVEN` it does without: then a head is bounded in time and by its lines alone,
chunks by the size of their body, a body that breaks off is waited for until its time limit, and each response
costs a turn of the event loop.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

import orjson
from aiohttp import __version__ as aiohttp_version
from aiohttp import hdrs, web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD

from gateway.http.problems import CLOSE, ProblemError, document_of, problem_response, title_of
from gateway.http.request import Request
from shared.observability.logs import Logger, log_with

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.streams import StreamReader

    from gateway.http.request import Handler

# The versions of aiohttp with which the tests of this module were run.
PROVEN: Final = frozenset({"3.14.5"})

# aiohttp's default of an hour lets connections of clients long gone pile up.
_KEEP_ALIVE_S: Final = 75.0
# From here on two writes cost less than a copy.
_WRITTEN_APART_BYTES: Final = 64 * 1024
# To aiohttp, no time would mean no limit.
_AT_LEAST_S: Final = 0.1
# How long the rest of a refused body is read and thrown away, so that its sender sees the response.
_LINGER_S: Final = 3.0
# How long a client may take none of what waits for it, as a body may send nothing. Kernels hold back news of
# what they took until a third of their own buffer is free, which takes seconds on a slow line.
_READ_NOTHING_S: Final = 30.0
# The kernel forgets at once what it still has for the client, up to some MB, and tells it so.
_RESET: Final = struct.pack("ii", 1, 0)
_MAX_LINE_BYTES: Final = 8190
_MAX_HEADERS: Final = 100
# A head as a whole, as in most servers: four lines of the longest, or what a browser sends ten times.
_MAX_HEAD_BYTES: Final = 32 * 1024
_END_OF_HEAD: Final = b"\r\n\r\n"
_LINE_ENDS: Final = (b"\r", b"\n")
# What is parsed before its cost is looked at; the event loop reads up to 256 KiB, 40,000 chunks of 1 byte.
_PARSED_AT_ONCE_BYTES: Final = 64 * 1024
# What the chunks of a body may have around its content (RFC 9112, 7.1), and one more for each so many bytes
# of that: in chunks of 1 byte a body of 1 MB takes 0.9 s of the event loop.
_FREE_FRAMING_BYTES: Final = 32 * 1024
_FRAMED_BYTES: Final = 8

_TOO_LARGE: Final = ProblemError(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"The head is too large: with the trailers of a body it may have {_MAX_HEAD_BYTES} bytes "
    f"and {_MAX_HEADERS} fields, a line of it {_MAX_LINE_BYTES} bytes.",
    headers=CLOSE,
)
_OTHER_CODING: Final = ProblemError(
    HTTPStatus.NOT_IMPLEMENTED,
    "Of transfer codings only chunked is known here; a body may be packed as its Content-Encoding says.",
    headers=CLOSE,
)
_TOO_SLOW: Final = ProblemError(
    HTTPStatus.REQUEST_TIMEOUT, "The head of the request did not come in time.", headers=CLOSE
)
_TOO_MANY_FIELDS: Final = "Too many headers received"  # aiohttp's words
_BROKEN_BODY: Final = "The chunks or trailers of the body are not as HTTP/1.1 has them."
_MUCH_FRAMING: Final = (
    "The chunks of the body have too much around too little; send larger ones, or its length."
)

_log = Logger(__name__)


class WriteBatch:
    """Responses of one turn of the event loop, over all connections, written in a row at its end.

    A write wakes up the client that waits for it. A GET takes 97 us of CPU where each is written by itself,
    and 72 in a row, with the client on another core than the server.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._holding: list[Connection] = []

    def add(self, connection: Connection) -> None:
        """Have the connection write what it holds, once this turn is over."""
        if not self._holding:
            self._loop.call_soon(self._write)
        self._holding.append(connection)

    def _write(self) -> None:
        holding, self._holding = self._holding, []
        for connection in holding:
            connection.write_held()


def make_server(handler: Handler) -> web.Server:
    """Aiohttp's server for a handler of `Request`, to make each `Connection` with."""
    if aiohttp_version not in PROVEN:
        _log.warning("bounds of heads are wider", aiohttp=aiohttp_version, proven=sorted(PROVEN))

    async def handle(request: Request) -> web.StreamResponse:
        if request.refusal is not None:
            return problem_response(request.refusal)
        return await handler(request)

    return web.Server(cast("Any", handle), request_factory=_make_request)


class Connection(web.RequestHandler):
    """aiohttp's connection, with bounds for heads and for the framing of bodies.

    A connection has a request from when its turn has come until its response is sent.
    """

    __slots__ = (
        "_body",
        "_content_at_resume",
        "_finished",
        "_had_large_head",
        "_has_last_request",
        "_head_deadline",
        "_head_timeout_s",
        "_held",
        "_is_closing",
        "_is_given_up",
        "_is_paused",
        "_is_proven",
        "_is_silent",
        "_parsed_bytes",
        "_received_bytes",
        "_request",
        "_unread_deadline",
        "_upgrade_rest_bytes",
        "_write_batch",
    )

    def __init__(
        self,
        server: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        write_batch: WriteBatch,
        head_timeout_s: float,
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type] # `gateway.http.middleware` writes the record of a request
            auto_decompress=False,  # `gateway.http.bodies.content_encoding` unpacks within bounds
            keepalive_timeout=_KEEP_ALIVE_S,
            lingering_time=_LINGER_S,
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_LINE_BYTES,
            max_headers=_MAX_HEADERS,
        )
        self._is_proven = aiohttp_version in PROVEN
        self._head_timeout_s = head_timeout_s
        self._head_deadline: asyncio.TimerHandle | None = None
        self._request: Request | None = None
        self._finished: asyncio.Event | None = None
        self._write_batch = write_batch
        self._unread_deadline: asyncio.TimerHandle | None = None
        self._held = b""
        self._is_closing = False
        self._is_silent = True
        self._is_paused = False
        self._is_given_up = False
        self._had_large_head = False
        # The body of the last head that was parsed, and how many bytes came since that head: in all, and how
        # many of them were parsed for sure.
        self._body: StreamReader = EMPTY_PAYLOAD
        self._received_bytes = 0
        self._parsed_bytes = 0
        self._content_at_resume = 0
        # How much of a request that asks for an upgrade is still to come; whether none is taken behind it.
        self._upgrade_rest_bytes = 0
        self._has_last_request = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Expect the first head; and writing pauses as soon as the kernel takes no more."""
        super().connection_made(transport)
        cast("asyncio.Transport", transport).set_write_buffer_limits(high=0)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Parse what came, piece by piece, within the bounds of heads and framing."""
        if data:
            self._is_silent = False
        for start in range(0, len(data) or 1, _PARSED_AT_ONCE_BYTES):
            self._receive(data[start : start + _PARSED_AT_ONCE_BYTES])

    def pause_reading(self) -> None:
        """Wait for the reader of the body."""
        self._is_paused = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - aiohttp's signature
        """Go on after a pause. aiohttp asks twice for each body, and without one would parse nothing anew."""
        if self._is_paused:
            self._is_paused = False
            self._content_at_resume = self._body.total_bytes
            super().resume_reading(resume_parser)

    def pause_writing(self) -> None:
        """Wait for a client that reads slowly, but not for one that reads nothing."""
        super().pause_writing()
        if self.transport is not None:
            self._await_reader(self.transport)

    def resume_writing(self) -> None:
        """Go on: all that waited has been taken."""
        self._cancel_unread_deadline()
        super().resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        """End what is done for a client that has gone."""
        self._cancel_deadline()
        self._cancel_unread_deadline()
        request = self._request
        super().connection_lost(exc)
        if request is not None:
            request.abandon()
        self._finish()

    @property
    def is_ending(self) -> bool:
        """Whether the request that has its turn is the last one."""
        return (self._is_given_up or self._has_last_request) and not self._may_have_waiting()

    def begin(self, request: Request) -> None:
        """The turn of a request has come."""
        self._cancel_deadline()
        self._request = request
        if self._had_large_head and _head_size(request) > _MAX_HEAD_BYTES:
            request.refusal = _TOO_LARGE

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the response, and let other connections have their turn before the next of many requests."""
        try:
            finished = await super().finish_response(request, resp, start_time)
        finally:
            self._finish()
        if self._is_given_up and request.content is self._body and not self._body.is_eof():
            self.force_close()  # its rest is not parsed, so nothing can follow it
        elif self._may_have_waiting():
            await asyncio.sleep(0)
        return finished

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it repeats what was sent
    ) -> web.StreamResponse:
        """The response to what is no HTTP; no word of it is logged."""
        if request.writer.output_size > 0:
            raise ConnectionError("the response has begun already")
        log_with()  # of no request: not of the one before on this connection
        _log.info("a connection sent what is no request", kind=type(exc).__name__, status=status)
        return problem_response(_problem(HTTPStatus(status), exc))

    def send(self, head: bytes, body: bytes, *, is_last: bool) -> None:
        """Send a whole response: with others, unless another one follows at once or the connection ends.

        Of a large body the transport keeps what is not sent yet: the bytes that all share and no copy.
        """
        if len(body) >= _WRITTEN_APART_BYTES:
            if self.transport is not None:
                self.transport.writelines((head, body))
        elif is_last or self._is_closing or self._may_have_waiting():
            self._write(head + body)
        else:
            self._held = head + body
            self._write_batch.add(self)

    def write_held(self) -> None:
        """Write the response that is held, if any."""
        if self._held:
            held, self._held = self._held, b""
            self._write(held)

    def close(self) -> None:
        """Take no further request; of a body that is on its way aiohttp would not take the rest either."""
        self.write_held()
        if not self._is_receiving():
            self._is_closing = True
            super().close()

    def force_close(self) -> None:
        """Write what is held, and end."""
        self.write_held()
        self._is_closing = True
        super().force_close()

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - aiohttp's signature
        """Let a body that is on its way come and be answered, within the time limit; then end, as ever."""
        clock = asyncio.get_running_loop().time
        began = clock()
        if self._is_receiving():
            self._finished = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._finished.wait()
        if timeout is not None:
            timeout = max(timeout - (clock() - began), _AT_LEAST_S)
        await super().shutdown(timeout)

    def _receive(self, data: bytes) -> None:
        if self._is_given_up or (self._has_last_request and self._body.is_eof()):
            return
        before = len(self._waiting())
        self._received_bytes += len(data)
        super().data_received(data)
        if not self._is_paused:
            self._parsed_bytes = self._received_bytes
        if self._upgrade_rest_bytes > 0:
            self._see_rest_of_upgrade(len(data))
        waiting = self._waiting()
        if len(waiting) > before:
            self._see_heads(waiting, data, len(waiting) - before)
        elif self._awaits_head():
            self._see_part_of_head(len(data))
        else:
            self._check_framing()

    def _see_heads(self, waiting: Sequence[tuple[object, StreamReader]], data: bytes, count: int) -> None:
        """Whole heads came, or what is none."""
        self._cancel_deadline()
        message, body = waiting[-1]
        if not isinstance(message, RawRequestMessage):
            self._break_off(cast("Any", message))
            return
        self._had_large_head = self._had_large_head or self._received_bytes > _MAX_HEAD_BYTES
        self._body = body
        self._received_bytes = self._parsed_bytes = self._content_at_resume = 0
        if message.upgrade:
            self._upgrade_rest_bytes = _upgrade_bytes(message, data) if count == 1 else 0
            self._see_rest_of_upgrade(len(data))
        self._check_framing()

    def _see_rest_of_upgrade(self, size: int) -> None:
        """Take no request behind one with whose end something came in one piece: aiohttp drops that."""
        self._upgrade_rest_bytes -= size
        if self._upgrade_rest_bytes < 0:
            self._has_last_request = True
            if self._is_answered():
                self.force_close()

    def _see_part_of_head(self, size: int) -> None:
        if self._head_deadline is None:
            self._received_bytes = size  # without the body before it
            self._expect_head()
        if self._received_bytes > _MAX_HEAD_BYTES and self._is_proven:
            self._cut_off(_TOO_LARGE)

    def _break_off(self, error: Any) -> None:
        """Parse no further. What is wrong is told to the body that it is in, or answered in its turn."""
        self._is_given_up = True
        if self._body.is_eof():
            return
        self._messages.pop()
        problem = _problem(HTTPStatus(error.status), error.exc)
        self._end_body(problem if problem is _TOO_LARGE else _broken(_BROKEN_BODY))

    def _check_framing(self) -> None:
        """End a body whose chunks have more around their content than in it."""
        if not self._body.is_eof() and (self._has_small_chunks() or self._is_mostly_framing()):
            self._end_body(_broken(_MUCH_FRAMING))

    def _has_small_chunks(self) -> bool:
        """Whether aiohttp waits for the reader of so little content that it can only be for 8,192 chunks."""
        low, high = self._body.get_read_buffer_limits()
        return self._is_paused and self._body.total_bytes - self._content_at_resume < high - low

    def _is_mostly_framing(self) -> bool:
        content = self._body.total_bytes
        return self._parsed_bytes - content > _FREE_FRAMING_BYTES + content // _FRAMED_BYTES

    def _end_body(self, problem: ProblemError) -> None:
        """Have the request whose body is on its way answered with the problem, and its connection closed."""
        self._is_given_up = True
        if self._is_answered():  # its rest was thrown away
            self.force_close()
            return
        self._body.set_exception(problem)

    def _write(self, response: bytes) -> None:
        if self.transport is not None:
            self.transport.write(response)

    def _waiting(self) -> Sequence[tuple[object, StreamReader]]:
        """The requests that are parsed and have not begun; none where that can't be known."""
        return self._messages if self._is_proven else ()

    def _may_have_waiting(self) -> bool:
        return not self._is_proven or bool(self._messages)

    def _is_answered(self) -> bool:
        """Whether all requests are that were parsed."""
        return self._request is None and not self._may_have_waiting()

    def _awaits_head(self) -> bool:
        return self._request is None and self._body.is_eof() and not self._waiting()

    def _is_receiving(self) -> bool:
        return self._request is not None and not self._request.content.is_eof()

    def _finish(self) -> None:
        self._request = None
        if self._finished is not None:
            self._finished.set()

    def _await_reader(self, transport: asyncio.Transport, before: int | None = None) -> None:
        """End the connection once its client has taken nothing of what waits for too long."""
        waiting = transport.get_write_buffer_size()
        if waiting == before:
            _log.info("a connection was ended: its client reads nothing", waiting_bytes=waiting)
            if (connection := transport.get_extra_info("socket")) is not None:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()  # closing would wait for the client
            return
        loop = asyncio.get_running_loop()
        self._unread_deadline = loop.call_later(_READ_NOTHING_S, self._await_reader, transport, waiting)

    def _cancel_unread_deadline(self) -> None:
        if self._unread_deadline is not None:
            self._unread_deadline.cancel()
            self._unread_deadline = None

    def _expect_head(self) -> None:
        loop = asyncio.get_running_loop()
        self._head_deadline = loop.call_later(self._head_timeout_s, self._cut_off, _TOO_SLOW)

    def _cancel_deadline(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _cut_off(self, problem: ProblemError) -> None:
        self._cancel_deadline()
        if self.transport is None or not self._awaits_head():
            return
        if not self._is_silent:  # else nothing was asked: a browser's spare connection, a balancer's look
            _log.info("a connection was cut off: no whole head in time, or a large one")
            self.write_held()
            self._write(_last_bytes(problem))
        self.force_close()


def _make_request(
    message: RawRequestMessage,
    body: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> Request:
    request = Request(message, body, protocol, writer, task, asyncio.get_running_loop())
    if message.chunked and message.headers[hdrs.TRANSFER_ENCODING].strip(" \t,").lower() != "chunked":
        request.refusal = _OTHER_CODING
    cast("Connection", protocol).begin(request)
    return request


def _last_bytes(problem: ProblemError) -> bytes:
    """All bytes of a response to what is no request yet."""
    body = orjson.dumps(document_of(problem))
    return (
        b"HTTP/1.1 %d %b\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (problem.status, title_of(problem.status).encode(), len(body), body)
    )


def _upgrade_bytes(message: RawRequestMessage, data: bytes) -> int:
    """How long the one request of the data is, as far as that is known.

    Known it is of one that ordinary clients send, which try HTTP/2 with the first request of a connection.
    """
    end = -1 if data[:1] in _LINE_ENDS else data.find(_END_OF_HEAD)  # else that may have come in two parts
    if end < 0 or message.chunked or message.headers.get(hdrs.UPGRADE, "").lower() != "h2c":
        return 0
    return end + len(_END_OF_HEAD) + int(message.headers.get(hdrs.CONTENT_LENGTH, 0))


def _head_size(request: Request) -> int:
    """How many bytes a head has, but for a few."""
    return len(request.raw_path) + sum(len(name) + len(value) + 4 for name, value in request.raw_headers)


def _broken(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.BAD_REQUEST, detail, headers=CLOSE)


def _problem(status: HTTPStatus, error: BaseException | None) -> ProblemError:
    if isinstance(error, LineTooLong) or str(error).endswith(_TOO_MANY_FIELDS):
        return _TOO_LARGE
    if status is HTTPStatus.BAD_REQUEST:
        return _broken("This is no HTTP request.")
    detail = "Something in Isoline failed; the request may be sent again."
    return ProblemError(status, detail, headers=CLOSE)
