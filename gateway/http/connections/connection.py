"""The connections of the HTTP server, with limits that aiohttp's own don't have.

aiohttp limits the length of each line of a head, but neither the time that a head takes nor its total length.
It answers a malformed head in plain text that quotes it, and logs it; leaves a request waiting whose body
turns out malformed; and drops the rest of a body being received when it shuts down.

This is the one file that knows aiohttp's internals. It touches one private attribute, `_messages` of
`web.RequestHandler`: the queue of parsed requests whose handler has not started, each a message and its body.
With a version that is not among `PROVEN` it does without: then a head is limited in time and by its lines
alone, chunks by the size of their body, a malformed body is waited for until its deadline, and each response
costs an iteration of the event loop.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

import orjson
from aiohttp import __version__ as aiohttp_version
from aiohttp import hdrs, web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD

from gateway.http.problems import CLOSE, ProblemError, problem_document, problem_response, title_of
from gateway.http.request import Request
from shared.observability.logs import Logger, log_with

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence
    from typing import Any

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.streams import StreamReader

    from gateway.http.connections.connection_limit import ConnectionLimit
    from gateway.http.cors import CorsPolicy
    from gateway.http.memory.deadline import Deadline
    from gateway.http.request import Handler
    from gateway.http.responses import Response

# The versions of aiohttp with which the tests of this module were run.
PROVEN: Final = frozenset({"3.14.5"})

# aiohttp's default of an hour lets idle connections of vanished clients pile up.
_KEEP_ALIVE_S: Final = 75.0
# From this size on a second write costs less than copying head and body together.
_WRITELINES_MIN_BYTES: Final = 64 * 1024
# To aiohttp a timeout of 0 means none.
_MIN_TIMEOUT_S: Final = 0.1
# How long the rest of a refused body is read and discarded, so that its sender sees the response.
_LINGER_S: Final = 3.0
# How long a client may read none of a response. Kernels report progress only once a third of their own
# buffer is free, which takes seconds on a slow line.
_WRITE_STALL_TIMEOUT_S: Final = 30.0
# SO_LINGER of 0 s: the kernel discards up to some MB of unsent data and sends a reset.
_LINGER_RESET: Final = struct.pack("ii", 1, 0)
_MAX_LINE_BYTES: Final = 8190
_MAX_HEADERS: Final = 100
# The head as a whole, as in most servers: four lines of maximal length, or ten times a browser's head.
_MAX_HEAD_BYTES: Final = 32 * 1024
_END_OF_HEAD: Final = b"\r\n\r\n"
_LINE_ENDS: Final = (b"\r", b"\n")
# Parsed before framing is checked again; the event loop reads up to 256 KiB, 40,000 chunks of 1 byte.
_PARSED_AT_ONCE_BYTES: Final = 64 * 1024
# Chunk framing (RFC 9112, 7.1) may take 32 KiB of each body, and one byte more for every 8 of content: in
# chunks of 1 byte a body of 1 MB takes 0.9 s of the event loop.
_FRAMING_ALLOWANCE_BYTES: Final = 32 * 1024
_CONTENT_BYTES_PER_FRAMING_BYTE: Final = 8

_HEAD_TOO_LARGE: Final = ProblemError(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"The head is too large: with the trailers of a body it may have {_MAX_HEAD_BYTES} bytes "
    f"and {_MAX_HEADERS} fields, a line of it {_MAX_LINE_BYTES} bytes.",
    headers=CLOSE,
)
_UNKNOWN_TRANSFER_CODING: Final = ProblemError(
    HTTPStatus.NOT_IMPLEMENTED,
    "Of transfer codings only chunked is known here; a body may be packed as its Content-Encoding says.",
    headers=CLOSE,
)
_HEAD_TOO_SLOW: Final = ProblemError(
    HTTPStatus.REQUEST_TIMEOUT, "The head of the request did not come in time.", headers=CLOSE
)
_TOO_MANY_FIELDS: Final = "Too many headers received"  # aiohttp's message
_MALFORMED_CHUNKS: Final = "The chunks or trailers of the body are not as HTTP/1.1 has them."
_TOO_MUCH_FRAMING: Final = (
    "The chunks of the body have too much around too little; send larger ones, or its length."
)

_log = Logger(__name__)


class WriteBatch:
    """Collects the responses of all connections in an iteration of the event loop; writes them at its end.

    Each write wakes up a client. A GET takes 97 us of CPU where each response is written by itself, and 72 in
    a batch, with the client on another core than the server.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._connections: list[Connection] = []

    def add(self, connection: Connection) -> None:
        """Flush the connection at the end of this iteration."""
        if not self._connections:
            self._loop.call_soon(self._write)
        self._connections.append(connection)

    def _write(self) -> None:
        connections, self._connections = self._connections, []
        for connection in connections:
            connection.flush()


def make_server(handler: Handler, *, cors: CorsPolicy | None = None) -> web.Server:
    """Make aiohttp's server for a handler of `Request`; `Connection` needs one.

    Args:
        handler: Called for each request whose head is within its limits.
        cors: Adds its headers to every response.
    """
    if aiohttp_version not in PROVEN:
        _log.warning(
            "limits of request heads are wider with this version of aiohttp",
            aiohttp=aiohttp_version,
            proven=sorted(PROVEN),
        )

    def handle(request: Request) -> Awaitable[Response]:
        return handler(request) if request.refusal is None else _refuse(request.refusal)

    served = handle if cors is None else cors.with_headers(handle)
    return web.Server(cast("Any", served), request_factory=_make_request)


class Connection(web.RequestHandler):
    """aiohttp's connection, with limits for heads and for the framing of bodies.

    Its current request is set from the start of the handler until the response is sent.
    """

    __slots__ = (
        "_body",
        "_buffered",
        "_content_at_resume",
        "_had_large_head",
        "_has_last_request",
        "_has_received_nothing",
        "_head_deadline",
        "_head_timeout_s",
        "_is_closing",
        "_is_parsing_stopped",
        "_is_proven",
        "_is_reading_paused",
        "_limit",
        "_parsed_bytes",
        "_received_bytes",
        "_request",
        "_request_finished",
        "_upgrade_rest_bytes",
        "_write_batch",
        "_write_deadline",
        "_write_paused_at",
    )

    def __init__(
        self,
        server: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        write_batch: WriteBatch,
        limit: ConnectionLimit,
        head_timeout_s: float,
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type] # `gateway.http.middleware` logs requests
            auto_decompress=False,  # `gateway.http.bodies.content_encoding` decompresses within limits
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
        self._request_finished: asyncio.Event | None = None
        self._write_batch = write_batch
        self._limit = limit
        self._write_deadline: asyncio.TimerHandle | None = None
        self._write_paused_at: float | None = None
        self._buffered = b""
        self._is_closing = False
        self._has_received_nothing = True
        self._is_reading_paused = False
        self._is_parsing_stopped = False
        self._had_large_head = False
        # The body of the last parsed head, the bytes received since that head, and how many of those were
        # certainly parsed.
        self._body: StreamReader = EMPTY_PAYLOAD
        self._received_bytes = 0
        self._parsed_bytes = 0
        self._content_at_resume = 0
        # Bytes still missing of a request for an upgrade; whether requests behind it are ignored.
        self._upgrade_rest_bytes = 0
        self._has_last_request = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the deadline of the first head; pause writing as soon as the kernel's buffer is full."""
        super().connection_made(transport)
        cast("asyncio.Transport", transport).set_write_buffer_limits(high=0)
        if self._limit.add(self):
            self._start_head_deadline()
        else:
            cast("asyncio.Transport", transport).abort()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes piece by piece, within the limits of heads and framing."""
        if data:
            self._has_received_nothing = False
        if len(data) <= _PARSED_AT_ONCE_BYTES:
            self._receive(data)
            return
        for start in range(0, len(data), _PARSED_AT_ONCE_BYTES):
            self._receive(data[start : start + _PARSED_AT_ONCE_BYTES])

    def pause_reading(self) -> None:
        """Stop reading until the handler has consumed some of the body."""
        self._is_reading_paused = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - aiohttp's signature
        """Read on after a pause; other calls are ignored: aiohttp makes two for each body."""
        if self._is_reading_paused:
            self._is_reading_paused = False
            self._content_at_resume = self._body.total_bytes
            super().resume_reading(resume_parser)

    def pause_writing(self) -> None:
        """Start to watch the write buffer: a client may read slowly, but not stall."""
        super().pause_writing()
        self._write_paused_at = time.monotonic()
        if self.transport is not None:
            self._watch_write_buffer(self.transport)

    def resume_writing(self) -> None:
        """Stop watching: the write buffer is empty."""
        self._write_paused_at = None
        self._cancel_write_deadline()
        super().resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Cancel the work for the disconnected client."""
        self._cancel_head_deadline()
        self._cancel_write_deadline()
        request = self._request
        super().connection_lost(exc)
        if request is not None:
            request.disconnect()
        self._finish_request()
        self._limit.remove(self)

    @property
    def is_last_response(self) -> bool:
        """Whether no response follows that of the current request."""
        return (self._is_parsing_stopped or self._has_last_request) and not self._may_have_queued()

    @property
    def can_send(self) -> bool:
        """Whether its client is there and reads its responses."""
        transport = self.transport
        return transport is not None and not self.writing_paused and not transport.is_closing()

    def begin_request(self, request: Request) -> None:
        """Make this the current request: its handler starts."""
        self._cancel_head_deadline()
        self._limit.mark_busy(self)
        self._request = request
        if self._had_large_head and _head_size(request) > _MAX_HEAD_BYTES:
            request.refusal = _HEAD_TOO_LARGE

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send the response, and yield to other connections before the next pipelined request."""
        try:
            finished = await super().finish_response(request, resp, start_time)
        finally:
            self._finish_request()
        if self._is_parsing_stopped and request.content is self._body and not self._body.is_eof():
            self.force_close()  # the rest of the body is not parsed, so no request can follow it
        elif self._may_have_queued():
            await asyncio.sleep(0)
        return finished

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """The response to a malformed request, of which nothing is quoted or logged."""
        if request.writer.output_size > 0:
            raise ConnectionError("the response has begun already")
        log_with()  # without the fields of the previous request on this connection
        _log.info("a connection sent a malformed request", kind=type(exc).__name__, status=status)
        return problem_response(_problem(HTTPStatus(status), exc))

    def send(self, head: bytes, body: bytes, *, is_last: bool) -> None:
        """Send a whole response: in a batch, unless another one follows at once or the connection closes.

        A large body is not copied: the transport keeps a reference to the part that is not sent yet.
        """
        if len(body) >= _WRITELINES_MIN_BYTES:
            if self.transport is not None:
                self.transport.writelines((head, body))
        elif is_last or self._is_closing or self._may_have_queued():
            self._write(head + body)
        else:
            self._buffered = head + body
            self._write_batch.add(self)

    def flush(self) -> None:
        """Write the buffered response, if any."""
        if self._buffered:
            buffered, self._buffered = self._buffered, b""
            self._write(buffered)

    def close(self) -> None:
        """Accept no further request; not while a body is being received, whose rest aiohttp would drop."""
        self.flush()
        if not self._is_receiving_body():
            self._is_closing = True
            super().close()

    def force_close(self) -> None:
        """Flush, then close."""
        self.flush()
        self._is_closing = True
        super().force_close()

    def client_delay_s(self) -> float:
        """For how long its client has read nothing of a response, or by how much the body is late."""
        if self._write_paused_at is not None:
            return time.monotonic() - self._write_paused_at
        deadline = self._body_deadline()
        return deadline.late_s if deadline is not None else 0.0

    def evict(self) -> None:
        """Close it in favour of a new connection; a body that is late gets its 503 first."""
        self._cancel_head_deadline()
        if self._write_paused_at is not None and self.transport is not None:
            self._reset(self.transport)
        elif (deadline := self._body_deadline()) is not None and not deadline.is_over:
            deadline.revoke()
        else:
            self.force_close()

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - aiohttp's signature
        """Shut down as aiohttp does, but first let a body being received complete and be answered."""
        clock = asyncio.get_running_loop().time
        began = clock()
        if self._is_receiving_body():
            self._request_finished = asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._request_finished.wait()
        if timeout is not None:
            timeout = max(timeout - (clock() - began), _MIN_TIMEOUT_S)
        await super().shutdown(timeout)

    def _receive(self, data: bytes) -> None:
        if self._is_parsing_stopped or (self._has_last_request and self._body.is_eof()):
            return
        queued, had_body = self._queued_messages(), not self._body.is_eof()
        before = len(queued)
        self._received_bytes += len(data)
        super().data_received(data)
        if not self._is_reading_paused:
            self._parsed_bytes = self._received_bytes
        if self._upgrade_rest_bytes > 0:
            self._handle_upgrade_rest(len(data))
        if len(queued) > before:
            self._handle_heads(queued, data, len(queued) - before)
        elif self._awaits_head():
            if not had_body:  # else this is the end of a body that was answered early
                self._handle_partial_head(len(data))
        else:
            self._check_framing()

    def _handle_heads(self, queued: Sequence[tuple[object, StreamReader]], data: bytes, count: int) -> None:
        """Complete heads were parsed, or an error."""
        self._cancel_head_deadline()
        message, body = queued[-1]
        if not isinstance(message, RawRequestMessage):
            self._stop_parsing(cast("Any", message))
            return
        self._had_large_head = self._had_large_head or self._received_bytes > _MAX_HEAD_BYTES
        self._body = body
        self._received_bytes = self._parsed_bytes = self._content_at_resume = 0
        if message.upgrade:
            self._upgrade_rest_bytes = _upgrade_bytes(message, data) if count == 1 else 0
            self._handle_upgrade_rest(len(data))
        self._check_framing()

    def _handle_upgrade_rest(self, size: int) -> None:
        """Ignore requests behind one whose end arrived together with more bytes: aiohttp drops those."""
        self._upgrade_rest_bytes -= size
        if self._upgrade_rest_bytes < 0:
            self._has_last_request = True
            if self._is_answered():
                self.force_close()

    def _handle_partial_head(self, size: int) -> None:
        if self._head_deadline is None:
            self._received_bytes = size  # without the previous body
            self._start_head_deadline()
        if self._received_bytes > _MAX_HEAD_BYTES and self._is_proven:
            self._refuse_head(_HEAD_TOO_LARGE)

    def _stop_parsing(self, error: Any) -> None:
        """Parse no further; fail the body in which the error is, else aiohttp answers it in its turn."""
        self._is_parsing_stopped = True
        if self._body.is_eof():
            return
        self._messages.pop()
        problem = _problem(HTTPStatus(error.status), error.exc)
        self._fail_body(problem if problem is _HEAD_TOO_LARGE else _bad_request(_MALFORMED_CHUNKS))

    def _check_framing(self) -> None:
        """Fail a body whose chunks have too much framing for their content."""
        if not self._body.is_eof() and (self._has_small_chunks() or self._is_mostly_framing()):
            self._fail_body(_bad_request(_TOO_MUCH_FRAMING))

    def _has_small_chunks(self) -> bool:
        """Whether reading paused after so little content that 8,192 buffered chunks must be the reason."""
        low, high = self._body.get_read_buffer_limits()
        return self._is_reading_paused and self._body.total_bytes - self._content_at_resume < high - low

    def _is_mostly_framing(self) -> bool:
        content = self._body.total_bytes
        return (
            self._parsed_bytes - content
            > _FRAMING_ALLOWANCE_BYTES + content // _CONTENT_BYTES_PER_FRAMING_BYTE
        )

    def _fail_body(self, problem: ProblemError) -> None:
        """Answer the request whose body is being received with the problem, and close the connection."""
        self._is_parsing_stopped = True
        if self._is_answered():  # the rest of its body is being discarded
            self.force_close()
            return
        self._body.set_exception(problem)

    def _write(self, response: bytes) -> None:
        if self.transport is not None:
            self.transport.write(response)

    def _queued_messages(self) -> Sequence[tuple[object, StreamReader]]:
        """The parsed requests whose handler has not started; empty where that can't be known."""
        return self._messages if self._is_proven else ()

    def _may_have_queued(self) -> bool:
        return not self._is_proven or bool(self._messages)

    def _is_answered(self) -> bool:
        """Whether each parsed request is answered."""
        return self._request is None and not self._may_have_queued()

    def _awaits_head(self) -> bool:
        return self._request is None and self._body.is_eof() and not self._queued_messages()

    def _is_receiving_body(self) -> bool:
        return self._request is not None and not self._request.content.is_eof()

    def _body_deadline(self) -> Deadline | None:
        """The deadline of the body that its current request has, if that was begun to be read."""
        if self._request is None or not self._request.has_body_memory:
            return None
        return self._request.memory.deadline

    def _finish_request(self) -> None:
        self._request = None
        self._limit.mark_idle(self)
        if self._request_finished is not None:
            self._request_finished.set()

    def _watch_write_buffer(self, transport: asyncio.Transport, before: int | None = None) -> None:
        """Abort the connection once its client has read nothing for too long."""
        queued = transport.get_write_buffer_size()
        if queued == before:
            _log.info("a connection was reset: its client reads nothing", waiting_bytes=queued)
            self._reset(transport)
            return
        loop = asyncio.get_running_loop()
        self._write_deadline = loop.call_later(
            _WRITE_STALL_TIMEOUT_S, self._watch_write_buffer, transport, queued
        )

    def _reset(self, transport: asyncio.Transport) -> None:
        """Abort the connection, with what is queued for its client."""
        self._write_paused_at = None
        if (connection := transport.get_extra_info("socket")) is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
        transport.abort()  # `close` would wait for the client

    def _cancel_write_deadline(self) -> None:
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None

    def _start_head_deadline(self) -> None:
        loop = asyncio.get_running_loop()
        self._head_deadline = loop.call_later(self._head_timeout_s, self._refuse_head, _HEAD_TOO_SLOW)

    def _cancel_head_deadline(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _refuse_head(self, problem: ProblemError) -> None:
        self._cancel_head_deadline()
        if self.transport is None or not self._awaits_head():
            return
        # A browser's spare connection or a balancer's probe sends nothing, and gets no response.
        if not self._has_received_nothing:
            _log.info("a connection was closed: its request head is late or too large")
            self.flush()
            self._write(_raw_response(problem))
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
        request.refusal = _UNKNOWN_TRANSFER_CODING
    cast("Connection", protocol).begin_request(request)
    return request


async def _refuse(problem: ProblemError) -> Response:
    return problem_response(problem)


def _raw_response(problem: ProblemError) -> bytes:
    """The bytes of a response to an incomplete head."""
    body = orjson.dumps(problem_document(problem))
    return (
        b"HTTP/1.1 %d %b\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (problem.status, title_of(problem.status).encode(), len(body), body)
    )


def _upgrade_bytes(message: RawRequestMessage, data: bytes) -> int:
    """The length of the one request in the data; 0 where it is not known.

    It is known for ordinary clients, which ask for HTTP/2 with the first request of a connection.
    """
    end = -1 if data[:1] in _LINE_ENDS else data.find(_END_OF_HEAD)  # -1: the end may have come in two parts
    if end < 0 or message.chunked or message.headers.get(hdrs.UPGRADE, "").lower() != "h2c":
        return 0
    return end + len(_END_OF_HEAD) + int(message.headers.get(hdrs.CONTENT_LENGTH, 0))


def _head_size(request: Request) -> int:
    """The approximate size of a head in bytes."""
    return len(request.raw_path) + sum(len(name) + len(value) + 4 for name, value in request.raw_headers)


def _bad_request(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.BAD_REQUEST, detail, headers=CLOSE)


def _problem(status: HTTPStatus, error: BaseException | None) -> ProblemError:
    if isinstance(error, LineTooLong) or str(error).endswith(_TOO_MANY_FIELDS):
        return _HEAD_TOO_LARGE
    if status is HTTPStatus.BAD_REQUEST:
        return _bad_request("This is no HTTP request.")
    detail = "Something in Isoline failed; the request may be sent again."
    return ProblemError(status, detail, headers=CLOSE)
