"""Responses: each is whole bytes and leaves in one write. There is no other way out.

aiohttp puts a head together from a dictionary, through ten calls and 11 us of the 50 that a GET would take
with it. Here most of a head is written beforehand, and the rest takes 2 us.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, cast

import orjson
from aiohttp import ClientConnectionResetError, HttpVersion11, hdrs, web
from aiohttp.http import SERVER_SOFTWARE
from multidict import CIMultiDict, CIMultiDictProxy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.abc import AbstractStreamWriter

    from gateway.http.connection import Connection

JSON: Final = "application/json"
# What may come compressed, so that a cache has to tell its forms apart.
COMPRESSIBLE: Final = ("text/", JSON, "application/javascript", "application/problem+json")

_WITHOUT_BODY: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_NO_HEADERS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class Head:
    """A status and header fields, written out once for all responses that have them.

    Attributes:
        status: Of HTTP.
        headers: The fields, with ``Vary`` where the body may come compressed.
        text: The status line and the fields as they are sent.

    Raises:
        ValueError: A field would be read as more than one.
    """

    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=CIMultiDict[str])
    text: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Write it out."""
        headers = CIMultiDict(self.headers)
        if headers.get(hdrs.CONTENT_TYPE, "").startswith(COMPRESSIBLE):
            headers.setdefault(hdrs.VARY, "Accept-Encoding")
        lines = [_line(name, value) for name, value in (*headers.items(), (hdrs.SERVER, SERVER_SOFTWARE))]
        object.__setattr__(self, "headers", CIMultiDictProxy(headers))
        object.__setattr__(self, "text", f"{self.status.value} {self.status.phrase}\r\n{''.join(lines)}")


class Response(web.StreamResponse):
    """A response: a head, a body, and header fields of this response alone."""

    def __init__(self, head: Head, body: bytes = b"") -> None:
        super().__init__(status=head.status)
        self.head: Final = head
        self.body: Final = body
        self._added = ""
        self._stays_open = True

    @property
    def headers(self) -> CIMultiDict[str]:
        """A copy of the fields of its head."""
        return CIMultiDict(self.head.headers)

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open behind it."""
        return self._stays_open

    def force_close(self) -> None:
        """End the connection behind it."""
        self._stays_open = False

    def add_header(self, name: str, value: str) -> None:
        """Add a field of this response alone.

        Raises:
            ValueError: It would be read as more than one.
        """
        self._added += _line(name, value)

    def changed(self, head: Head, body: bytes) -> Response:
        """This response with another head and body."""
        changed = Response(head, body)
        changed._added, changed._stays_open = self._added, self._stays_open
        return changed

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send all of it.

        Raises:
            ConnectionError: The client has gone.
        """
        if request.protocol.writing_paused:
            await request.writer.drain()  # a client that asks and does not read is waited for
        transport = request.transport
        if transport is None or transport.is_closing():
            raise ClientConnectionResetError("the client has gone")
        connection = cast("Connection", request.protocol)
        self._stays_open = self._stays_open and request.keep_alive and not connection.is_ending
        head, body = self._head(request), b"" if request.method == hdrs.METH_HEAD else self.body
        connection.send(head, body, is_last=not self._stays_open)
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Nothing is left to send."""

    def _head(self, request: web.BaseRequest) -> bytes:
        is_1_1 = request.version == HttpVersion11
        length = "" if self.head.status in _WITHOUT_BODY else f"Content-Length: {len(self.body)}\r\n"
        connection = ""  # what the version takes for granted
        if self._stays_open is not is_1_1:
            connection = f"Connection: {'keep-alive' if self._stays_open else 'close'}\r\n"
        fields = f"{self.head.text}{self._added}{length}{connection}{_date(int(time.time()))}"
        return f"HTTP/1.{is_1_1:d} {fields}\r\n".encode()


def json_response(
    document: object, status: HTTPStatus = HTTPStatus.OK, *, headers: Mapping[str, str] = _NO_HEADERS
) -> Response:
    """The response whose body is a document."""
    return Response(Head(status, {hdrs.CONTENT_TYPE: JSON, **headers}), orjson.dumps(document))


def _line(name: str, value: str) -> str:
    if "\n" in value or "\r" in value:
        raise ValueError(f"a line break in the field {name}")
    return f"{name}: {value}\r\n"


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return f"Date: {formatdate(second, usegmt=True)}\r\n"


NO_CONTENT: Final = Head(HTTPStatus.NO_CONTENT)
