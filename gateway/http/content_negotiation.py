"""Content negotiation: a response is gzipped if that is worth it, and 304 if the client has it already."""

from __future__ import annotations

import gzip
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs
from multidict import CIMultiDict

from gateway.http.responses import COMPRESSIBLE, Head, Response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.http.request import Request

# Below this a gzipped answer still takes one packet, and packing it costs time on both sides.
_WORTH_PACKING_BYTES: Final = 1024
_GZIP_LEVEL: Final = 6  # 9 takes twice the time for 1 % of the size
# Browsers name their encodings in 30 bytes. Who sends a list that is longer than this gets what needs none.
_MAX_WISHES_BYTES: Final = 1024

# Two encodings of one thing differ in their bytes, so their strong tags differ (RFC 9110, 8.8.3.3), and who
# names the tag of one has not the other.
_GZIP_SUFFIX: Final = "-gzip"
_KEPT_BY_304: Final = ("ETag", "Cache-Control", "Vary", "Content-Security-Policy")


class Document:
    """What is answered many times as it is, and so is packed once.

    Args:
        headers: What goes with it, its type among them.
        tag: Its strong entity tag.
    """

    def __init__(self, body: bytes, headers: Mapping[str, str], *, tag: str) -> None:
        head = Head(headers={**headers, "ETag": f'"{tag}"'})
        self._plain = head, body
        self._gzipped = _gzipped(head, body)

    def response(self, request: Request) -> Response:
        """It, as the client takes it."""
        _, body = self._plain
        return Response(*(self._gzipped if _is_gzipped(request, body) else self._plain))


def negotiated(request: Request, response: Response) -> Response:
    """The response as 304 if the client names the tag of what it has; gzipped if large and accepted."""
    head, body = response.head, response.body
    if _is_gzipped(request, body) and _is_compressible(head):
        head, body = _gzipped(head, body)
    if hdrs.IF_NONE_MATCH in request.headers:
        tag = head.headers.get(hdrs.ETAG)
        if tag is not None and _has_it(request, tag):
            kept = {name: head.headers[name] for name in _KEPT_BY_304 if name in head.headers}
            head, body = Head(HTTPStatus.NOT_MODIFIED, kept), b""
    return response if head is response.head else response.changed(head, body)


def _is_compressible(head: Head) -> bool:
    headers = head.headers
    is_of_type = headers.get(hdrs.CONTENT_TYPE, "").startswith(COMPRESSIBLE)
    return is_of_type and hdrs.CONTENT_ENCODING not in headers


def _is_gzipped(request: Request, body: bytes) -> bool:
    """Whether a body of text goes to this client gzipped."""
    return len(body) >= _WORTH_PACKING_BYTES and accepts_gzip(request)


def _gzipped(head: Head, body: bytes) -> tuple[Head, bytes]:
    headers = CIMultiDict(head.headers)
    headers[hdrs.CONTENT_ENCODING] = "gzip"
    if hdrs.ETAG in headers:
        headers[hdrs.ETAG] = headers[hdrs.ETAG].removesuffix('"') + f'{_GZIP_SUFFIX}"'
    return Head(head.status, headers), gzip.compress(body, _GZIP_LEVEL, mtime=0)


def accepts_gzip(request: Request) -> bool:
    """Whether the client takes gzip: it names it, by either name, or anything, with a quality above 0."""
    fields = request.headers.getall(hdrs.ACCEPT_ENCODING, [])
    wishes = ",".join(fields)
    return len(wishes) <= _MAX_WISHES_BYTES and _names_gzip(wishes)


@lru_cache(maxsize=128)
def _names_gzip(wishes: str) -> bool:
    qualities = dict(map(_quality, wishes.split(",")))
    return qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0))) > 0


def _quality(item: str) -> tuple[str, float]:
    coding, *parameters = (part.strip().lower() for part in item.split(";"))
    weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
    try:
        return coding, float(weight)
    except ValueError:
        return coding, 0.0


def _has_it(request: Request, tag: str) -> bool:
    """Whether the client names this tag, by weak comparison (RFC 9110, 13.1.2), or any."""
    named = ",".join(request.headers.getall(hdrs.IF_NONE_MATCH))
    return tag in named or named.strip() == "*"
