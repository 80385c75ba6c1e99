"""Connections that don't wait for slow or broken heads of requests, and do wait for bodies.

aiohttp bounds the length of a head but not the time that it takes, and answers a broken one in plain text
that repeats it, with a record in the log that does the same. And once it is told to leave, it drops the rest
of bodies that are on their way, so that their requests fail.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeVar, cast

import orjson
import structlog
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import _ErrInfo

from gateway.problems import CLOSE, ProblemError, document_of, problem_response, title_of
from shared.telemetry import log_with

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from aiohttp.http import RawRequestMessage
    from aiohttp.streams import StreamReader

    from gateway.requests import Request

# aiohttp's default of an hour lets connections of clients long gone pile up.
_KEEP_ALIVE_S: Final = 75.0
# To aiohttp, no time would mean no limit.
_AT_LEAST_S: Final = 0.1
# How long the rest of a refused body is read and thrown away, so that its sender sees the answer.
_LINGER_S: Final = 3.0
_MAX_LINE_BYTES: Final = 8190
_MAX_HEADERS: Final = 100
# A head as a whole, as in most servers: four lines of the longest, or what a browser sends ten times.
_MAX_HEAD_BYTES: Final = 32 * 1024
# What is parsed before its cost is looked at; the event loop reads up to 256 KiB, 40,000 chunks of 1 byte.
_PARSED_AT_ONCE_BYTES: Final = 64 * 1024
# What the chunks of a body may have around its content (RFC 9112, 7.1), and one more for each so many bytes
# of that: in chunks of 1 byte a body of 1 MB takes 0.9 s of the event loop.
_FREE_FRAMING_BYTES: Final = 32 * 1024
_FRAMED_BYTES: Final = 8
_SMALL_CHUNK_BYTES: Final = 40
_MANY_CHUNKS: Final = 8192


def _last_answer(problem: ProblemError) -> bytes:
    """All bytes of an answer to what is no request yet."""
    body = orjson.dumps(document_of(problem))
    return (
        b"HTTP/1.1 %d %b\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (problem.status, title_of(problem.status).encode(), len(body), body)
    )


_TOO_SLOW: Final = _last_answer(
    ProblemError(HTTPStatus.REQUEST_TIMEOUT, "The head of the request did not come in time.")
)
_TOO_LARGE: Final = ProblemError(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"The head is too large: with the trailers of a body it may have {_MAX_HEAD_BYTES} bytes "
    f"and {_MAX_HEADERS} fields, a line of it {_MAX_LINE_BYTES} bytes.",
)
_TOO_LARGE_ANSWER: Final = _last_answer(_TOO_LARGE)
_TOO_MANY_FIELDS: Final = "Too many headers received"  # aiohttp's words
_NO_BODY: Final = "The chunks or trailers of the body are not as HTTP/1.1 has them."
_FRAMING: Final = "The chunks of the body have too much around too little; send larger ones, or its length."


_T = TypeVar("_T")

_log = structlog.get_logger(__name__)


class Departures:
    """Answers that leave in the same turn of the event loop, in a row.

    A write wakes up who waits for it. Between the work for two answers, clients on the same machine would go
    back to sleep again and again: a fifth of a GET's 77 us went into waking them.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready: list[Connection] = []

    def add(self, connection: Connection) -> None:
        """Have the connection send what it holds, once this turn is over."""
        if not self._ready:
            self._loop.call_soon(self._depart)
        self._ready.append(connection)

    def _depart(self) -> None:
        ready, self._ready = self._ready, []
        for connection in ready:
            connection.send_held()


class Connection(web.RequestHandler):
    """aiohttp's connection, with a time limit for each head and answers of our own to broken ones."""

    __slots__ = (
        "_arriving",
        "_departures",
        "_head_deadline",
        "_head_timeout_s",
        "_held",
        "_is_given_up",
        "_is_silent",
        "_since_head_bytes",
    )

    def __init__(
        self,
        server: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        departures: Departures,
        head_timeout_s: float,
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            access_log=None,  # type: ignore[arg-type] # `gateway.front` writes the record of a request
            auto_decompress=False,  # `gateway.encodings` unpacks within bounds
            keepalive_timeout=_KEEP_ALIVE_S,
            lingering_time=_LINGER_S,
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_LINE_BYTES,
            max_headers=_MAX_HEADERS,
        )
        self._head_timeout_s = head_timeout_s
        self._head_deadline: asyncio.TimerHandle | None = None
        self._departures = departures
        self._held = b""
        self._is_silent = True
        # The body of the last head that came, and what has been read since.
        self._arriving: StreamReader = EMPTY_PAYLOAD
        self._since_head_bytes = 0
        self._is_given_up = False

    async def start(self) -> None:
        """Answer one request after the other, in one task."""
        if sys.version_info < (3, 12):  # from then on aiohttp begins its tasks where it is
            self._loop = cast("asyncio.AbstractEventLoop", _InPlace(self._loop))
        await super().start()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Expect the first head."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Expect the rest of a head that has begun, and no more once it is whole; neither without end."""
        self._is_silent = False
        if len(data) <= _PARSED_AT_ONCE_BYTES:
            self._receive(data)
            return
        for start in range(0, len(data), _PARSED_AT_ONCE_BYTES):
            self._receive(data[start : start + _PARSED_AT_ONCE_BYTES])

    def _receive(self, data: bytes) -> None:
        if self._is_given_up:
            return
        heads = self._request_count
        self._since_head_bytes += len(data)
        super().data_received(data)
        if self._request_count > heads:
            self._cancel_deadline()
            last, body = self._messages[-1]
            if isinstance(last, _ErrInfo):
                self._break_off(last)
                return
            if self._since_head_bytes > _MAX_HEAD_BYTES:
                self._refuse_large_heads(self._request_count - heads)
            self._arriving, self._since_head_bytes = body, 0
        elif self._awaits_head():
            if self._head_deadline is None:
                self._since_head_bytes = len(data)  # without the body before it
                self._expect_head()
            if self._since_head_bytes > _MAX_HEAD_BYTES:
                self._cut_off(_TOO_LARGE_ANSWER)
        elif self._since_head_bytes > _FREE_FRAMING_BYTES:
            self._check_framing()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: FBT001, FBT002 - aiohttp's signature
        """Go on after a pause. aiohttp asks twice for each body, and without one would parse nothing anew."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Expect nothing, and let nobody work on for a client that has gone."""
        self._cancel_deadline()
        request = self._current_request
        super().connection_lost(exc)
        if request is not None:
            cast("Request", request).abandon()

    def send(self, answer: bytes, *, is_last: bool = False) -> None:
        """Send a whole answer together with others, unless another one follows or the connection ends."""
        if is_last or self._messages or self._close or self._force_close:
            self._write(answer)
            return
        self._held = answer
        self._departures.add(self)

    def send_held(self) -> None:
        """Send what is held, if anything."""
        if self._held:
            held, self._held = self._held, b""
            self._write(held)

    def close(self) -> None:
        """Take no further request; of a body that is on its way aiohttp would not take the rest either."""
        self.send_held()
        if not self._is_receiving():
            super().close()

    def force_close(self) -> None:
        """Send what is held, and end."""
        self.send_held()
        super().force_close()

    async def shutdown(self, timeout: float | None = 15.0) -> None:  # noqa: ASYNC109 - aiohttp's signature
        """Let a body that is on its way come and be answered, within the time limit; then end, as ever."""
        began = self._loop.time()
        if self._is_receiving():
            self._handler_waiter = self._loop.create_future()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._handler_waiter
            self._handler_waiter = None
        if timeout is not None:
            timeout = max(timeout - (self._loop.time() - began), _AT_LEAST_S)
        await super().shutdown(timeout)

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Send the answer, and let other connections have their turn before the next of many requests."""
        sending = super().finish_response(request, resp, start_time)
        return _in_a_turn(sending) if self._messages else sending

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it repeats what was sent
    ) -> web.StreamResponse:
        """Answer what is no HTTP, and log no word of it."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun already")
        log_with()  # of no request: not of the one before on this connection
        _log.info("a connection sent what is no request", kind=type(exc).__name__, status=status)
        response = problem_response(_problem(HTTPStatus(status), exc))
        response.force_close()
        return response

    def _refuse_large_heads(self, count: int) -> None:
        """Have those of the last heads that came answered with 431 that are too large as a whole."""
        for place in range(-count, 0):
            message, _ = self._messages[place]
            if not isinstance(message, _ErrInfo) and _size(message) > _MAX_HEAD_BYTES:
                error = _ErrInfo(_TOO_LARGE.status, _TOO_LARGE, _TOO_LARGE.detail)
                self._messages[place] = (error, EMPTY_PAYLOAD)

    def _break_off(self, error: _ErrInfo) -> None:
        """Parse no further. What is wrong is told to the body that it is in, or answered as a message."""
        self._is_given_up = True
        if self._arriving.is_eof():
            return
        self._messages.pop()
        problem = _problem(HTTPStatus(error.status), error.exc)
        self._end_body(problem if problem is _TOO_LARGE else ProblemError(HTTPStatus.BAD_REQUEST, _NO_BODY))

    def _check_framing(self) -> None:
        """End a body whose chunks have more around their content than in it."""
        if not self._arriving.is_eof() and (self._has_small_chunks() or self._is_mostly_framing()):
            self._end_body(ProblemError(HTTPStatus.BAD_REQUEST, _FRAMING))

    def _end_body(self, problem: ProblemError) -> None:
        """Have the request whose body is on its way answered with the problem, and its connection closed."""
        if self._current_request is None and not self._messages:  # it is answered; this was thrown away
            self.force_close()
            return
        self._is_given_up, self._lingering_time = True, 0.0
        self._arriving.set_exception(ProblemError(problem.status, problem.detail, headers=CLOSE))

    def _has_small_chunks(self) -> bool:
        """Whether many are here that nobody has read yet, of less than `_SMALL_CHUNK_BYTES` each."""
        ends = self._arriving._http_chunk_splits  # noqa: SLF001 - with many, aiohttp parses no further
        if ends is None or len(ends) <= _MANY_CHUNKS:
            return False
        return ends[-1] - ends[0] < len(ends) * _SMALL_CHUNK_BYTES

    def _is_mostly_framing(self) -> bool:
        """Whether much of what has come since the head is not content, if all of it is parsed."""
        content = self._arriving.total_bytes
        allowed = _FREE_FRAMING_BYTES + content // _FRAMED_BYTES
        return not self._reading_paused and self._since_head_bytes - content > allowed

    def _write(self, answer: bytes) -> None:
        if self.transport is not None:
            self.transport.write(answer)

    def _is_receiving(self) -> bool:
        return self._current_request is not None and not self._current_request.content.is_eof()

    def _awaits_head(self) -> bool:
        return self._waiter is not None and not self._waiter.done()

    def _expect_head(self) -> None:
        self._head_deadline = self._loop.call_later(self._head_timeout_s, self._cut_off, _TOO_SLOW)

    def _cancel_deadline(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _cut_off(self, answer: bytes) -> None:
        self._head_deadline = None
        if self.transport is None or not self._awaits_head():
            return
        if (
            not self._is_silent
        ):  # else nothing was asked: a browser's spare connection, a load balancer's look
            _log.info("a connection was cut off: no whole head in time, or a large one")
            self.transport.write(answer)
        self.force_close()


class _InPlace:
    """The event loop to a connection that has begun; a task of it is the coroutine itself, and no task.

    aiohttp runs each request in a task of its own, for the sake of context variables, of which ours are set
    anew with each. On Python 3.11 that takes two more turns of the loop and 5 us of a GET's 60.
    """

    __slots__ = ("call_at", "call_later", "create_future", "time")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.call_at = loop.call_at
        self.call_later = loop.call_later
        self.create_future = loop.create_future
        self.time = loop.time

    def create_task(self, coroutine: Coroutine[Any, Any, object]) -> Coroutine[Any, Any, object]:
        return coroutine


async def _in_a_turn(sending: Coroutine[Any, Any, _T]) -> _T:
    """End the turn of the event loop after a coroutine, which may never have waited for anything."""
    result = await sending
    await asyncio.sleep(0)
    return result


def _size(message: RawRequestMessage) -> int:
    """How many bytes a head has, but for a few."""
    return len(message.path) + sum(len(name) + len(value) + 4 for name, value in message.raw_headers)


def _problem(status: HTTPStatus, error: BaseException | None) -> ProblemError:
    if error is _TOO_LARGE or isinstance(error, LineTooLong) or str(error).endswith(_TOO_MANY_FIELDS):
        return _TOO_LARGE
    if status is HTTPStatus.BAD_REQUEST:
        return ProblemError(status, "This is no HTTP request.")
    return ProblemError(status, "Something in Isoline failed; the request may be sent again.")
