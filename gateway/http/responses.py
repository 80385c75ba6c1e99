"""Responses: prebuilt heads and complete bodies, sent in one write; and event streams, sent event by event.

aiohttp builds a head from a dictionary, in ten calls and 11 us of the 50 that a GET would take with it. Here
most of a head is prebuilt, and the rest takes 2 us.
"""

from __future__ import annotations

import time
from contextlib import aclosing
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol, cast

import orjson
from aiohttp import ClientConnectionResetError, HttpVersion11, hdrs, web
from aiohttp.http import SERVER_SOFTWARE
from multidict import CIMultiDict, CIMultiDictProxy

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping
    from contextlib import AbstractContextManager

    from aiohttp.abc import AbstractStreamWriter


JSON: Final = "application/json"
JSON_SCHEMA: Final = "application/schema+json"
# Types whose responses may be compressed, and so vary by Accept-Encoding.
COMPRESSIBLE: Final = ("text/", JSON, JSON_SCHEMA, "application/javascript", "application/problem+json")

_WITHOUT_BODY: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_CLOSE: Final = "Connection: close\r\n"
_KEEP_ALIVE: Final = "Connection: keep-alive\r\n"
_NO_HEADERS: Final[Mapping[str, str]] = {}


class _Sender(Protocol):
    """The part of `gateway.http.connections.connection.Connection` that sends responses."""

    @property
    def can_send(self) -> bool: ...

    @property
    def is_last_response(self) -> bool: ...

    def send(self, head: bytes, body: bytes, *, is_last: bool) -> None: ...


class _Cancellable(Protocol):
    """The part of `gateway.http.request.Request` that ends work for a client that has disconnected."""

    def while_connected(self) -> AbstractContextManager[None]: ...


@dataclass(frozen=True, slots=True)
class Head:
    """A prebuilt response head: a status and header fields, serialized once for many responses.

    Attributes:
        status: The HTTP status.
        headers: The fields, with ``Vary`` where the body may be compressed.
        is_endless: Whether nobody knows how long the body will be.
        text: The status line, without its version, and the fields as they are sent.
        has_length: Whether responses say how long their body is.

    Raises:
        ValueError: A field has a line break.
    """

    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=CIMultiDict[str])
    is_endless: bool = False
    text: str = field(init=False, repr=False, compare=False)
    has_length: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Serialize it."""
        headers = CIMultiDict(self.headers)
        if headers.get(hdrs.CONTENT_TYPE, "").startswith(COMPRESSIBLE):
            headers.setdefault(hdrs.VARY, "Accept-Encoding")
        lines = [_line(name, value) for name, value in (*headers.items(), (hdrs.SERVER, SERVER_SOFTWARE))]
        object.__setattr__(self, "headers", CIMultiDictProxy(headers))
        has_length = self.status not in _WITHOUT_BODY and not self.is_endless
        object.__setattr__(self, "has_length", has_length)
        object.__setattr__(self, "text", f"{self.status.value} {self.status.phrase}\r\n{''.join(lines)}")


class Response(web.StreamResponse):
    """A response: a head, a body, and header fields of this response alone."""

    def __init__(self, head: Head, body: bytes = b"") -> None:
        super().__init__(status=head.status)
        self.head: Final = head
        self.body: Final = body
        self._added_headers = ""
        self._is_persistent = True

    @property
    def headers(self) -> CIMultiDict[str]:
        """A copy of the fields of its head."""
        return CIMultiDict(self.head.headers)

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open after it."""
        return self._is_persistent

    def force_close(self) -> None:
        """Close the connection after it."""
        self._is_persistent = False

    def add_header(self, name: str, value: str) -> None:
        """Add a field of this response alone.

        Raises:
            ValueError: It has a line break.
        """
        self._added_headers += _line(name, value)

    def with_content(self, head: Head, body: bytes) -> Response:
        """This response with another head and body."""
        response = Response(head, body)
        response._added_headers, response._is_persistent = self._added_headers, self._is_persistent
        return response

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send all of it.

        Raises:
            ConnectionError: The client has disconnected.
        """
        connection = cast("_Sender", request.protocol)
        if not connection.can_send:
            await _until_writable(request)
        self._is_persistent = self._is_persistent and request.keep_alive and not connection.is_last_response
        head, body = self._head(request), b"" if request.method == hdrs.METH_HEAD else self.body
        connection.send(head, body, is_last=not self._is_persistent)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Do nothing: `prepare` has sent all of it."""

    def _head(self, request: web.BaseRequest) -> bytes:
        if request.version == HttpVersion11:
            version, connection = "1", "" if self._is_persistent else _CLOSE
        else:
            version, connection = "0", _KEEP_ALIVE if self._is_persistent else ""
        length = f"Content-Length: {len(self.body)}\r\n" if self.head.has_length else ""
        fields = f"{self.head.text}{self._added_headers}{length}{connection}{_date(int(time.time()))}"
        return f"HTTP/1.{version} {fields}\r\n".encode()


class EventStream(Response):
    """A response that goes on for as long as there are events; the end of its connection ends it.

    An event is asked for when the client has read the one before, so that a slow client misses some and takes
    no more memory than one event.

    Args:
        events: In the format of server-sent events.
    """

    def __init__(self, events: AsyncGenerator[bytes, None]) -> None:
        super().__init__(_EVENT_STREAM)
        self._events = events
        self._request: web.BaseRequest | None = None
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send its head.

        Raises:
            ConnectionError: The client has disconnected.
        """
        self._request = request
        return await super().prepare(request)

    async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002 - aiohttp's signature
        """Send its events until there are no more.

        Raises:
            ConnectionError: The client has disconnected.
        """
        request = cast("web.BaseRequest", self._request)
        async with aclosing(self._events) as events:
            if request.method == hdrs.METH_HEAD:
                return
            try:
                with cast("_Cancellable", request).while_connected():
                    await _send_each(events, request)
            except Exception:
                if request.transport is None:
                    raise ClientConnectionResetError("the client has disconnected") from None
                raise


async def _send_each(events: AsyncGenerator[bytes, None], request: web.BaseRequest) -> None:
    connection = cast("_Sender", request.protocol)
    async for event in events:
        connection.send(event, b"", is_last=True)
        await _until_writable(request)


async def _until_writable(request: web.BaseRequest) -> None:
    """Wait while the client does not read its responses.

    Raises:
        ConnectionError: It has disconnected.
    """
    if request.protocol.writing_paused:
        await request.writer.drain()
    if request.transport is None or request.transport.is_closing():
        raise ClientConnectionResetError("the client has disconnected")


def json_response(
    document: object, status: HTTPStatus = HTTPStatus.OK, *, headers: Mapping[str, str] = _NO_HEADERS
) -> Response:
    """A response whose body is a JSON document."""
    return Response(Head(status, {hdrs.CONTENT_TYPE: JSON, **headers}), orjson.dumps(document))


def server_sent_event(name: str, document: Mapping[str, object]) -> bytes:
    """An event of an `EventStream`, whose data are a line of JSON."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), orjson.dumps(document))


def _line(name: str, value: str) -> str:
    if "\n" in value or "\r" in value:
        raise ValueError(f"a line break in the field {name}")
    return f"{name}: {value}\r\n"


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return f"Date: {formatdate(second, usegmt=True)}\r\n"


NO_CONTENT: Final = Head(HTTPStatus.NO_CONTENT)
# A proxy must neither keep nor collect it.
_EVENT_STREAM: Final = Head(
    headers={
        hdrs.CONTENT_TYPE: "text/event-stream",
        hdrs.CACHE_CONTROL: "no-store",
        "X-Accel-Buffering": "no",
    },
    is_endless=True,
)
