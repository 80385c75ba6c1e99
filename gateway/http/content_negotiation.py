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

# A smaller response takes one packet in either case, and gzip costs time on both sides.
_MIN_GZIP_BYTES: Final = 1024
_GZIP_LEVEL: Final = 6  # 9 takes twice the time for 1 % of the size
# Browsers send 30 bytes of Accept-Encoding. Where it is longer than this, the response is not compressed.
_MAX_ACCEPT_ENCODING_BYTES: Final = 1024

# Two encodings of one resource have different strong tags (RFC 9110, 8.8.3.3).
_GZIP_SUFFIX: Final = "-gzip"
_HEADERS_OF_304: Final = ("ETag", "Cache-Control", "Vary", "Content-Security-Policy")


class PrebuiltResponse:
    """A response that is sent many times, and so is compressed once.

    Args:
        headers: Its fields, Content-Type among them.
        tag: Its strong entity tag.
    """

    def __init__(self, body: bytes, headers: Mapping[str, str], *, tag: str) -> None:
        head = Head(headers={**headers, "ETag": f'"{tag}"'})
        self._plain = head, body
        self._gzipped = _gzipped(head, body)

    def response(self, request: Request) -> Response:
        """The response, gzipped if the client accepts that."""
        _, body = self._plain
        return Response(*(self._gzipped if _should_gzip(request, body) else self._plain))


def negotiate(request: Request, response: Response) -> Response:
    """The response as 304 if If-None-Match has its entity tag; gzipped if large and accepted."""
    head, body = response.head, response.body
    if _should_gzip(request, body) and _is_compressible(head):
        head, body = _gzipped(head, body)
    if hdrs.IF_NONE_MATCH in request.headers:
        tag = head.headers.get(hdrs.ETAG)
        if tag is not None and _etag_matches(request, tag):
            kept = {name: head.headers[name] for name in _HEADERS_OF_304 if name in head.headers}
            head, body = Head(HTTPStatus.NOT_MODIFIED, kept), b""
    return response if head is response.head else response.with_content(head, body)


def _is_compressible(head: Head) -> bool:
    headers = head.headers
    is_of_type = headers.get(hdrs.CONTENT_TYPE, "").startswith(COMPRESSIBLE)
    return is_of_type and hdrs.CONTENT_ENCODING not in headers


def _should_gzip(request: Request, body: bytes) -> bool:
    """Whether a compressible body is gzipped for this client."""
    return len(body) >= _MIN_GZIP_BYTES and accepts_gzip(request)


def _gzipped(head: Head, body: bytes) -> tuple[Head, bytes]:
    headers = CIMultiDict(head.headers)
    headers[hdrs.CONTENT_ENCODING] = "gzip"
    if hdrs.ETAG in headers:
        headers[hdrs.ETAG] = headers[hdrs.ETAG].removesuffix('"') + f'{_GZIP_SUFFIX}"'
    return Head(head.status, headers), gzip.compress(body, _GZIP_LEVEL, mtime=0)


def accepts_gzip(request: Request) -> bool:
    """Whether the client accepts gzip: as gzip, x-gzip or ``*``, with a quality above 0."""
    fields = request.headers.getall(hdrs.ACCEPT_ENCODING, [])
    accept_encoding = ",".join(fields)
    return len(accept_encoding) <= _MAX_ACCEPT_ENCODING_BYTES and _lists_gzip(accept_encoding)


@lru_cache(maxsize=128)
def _lists_gzip(accept_encoding: str) -> bool:
    qualities = dict(map(_quality, accept_encoding.split(",")))
    return qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0))) > 0


def _quality(item: str) -> tuple[str, float]:
    coding, *parameters = (part.strip().lower() for part in item.split(";"))
    weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
    try:
        return coding, float(weight)
    except ValueError:
        return coding, 0.0


def _etag_matches(request: Request, tag: str) -> bool:
    """Whether If-None-Match has this tag, by weak comparison (RFC 9110, 13.1.2), or ``*``."""
    named = ",".join(request.headers.getall(hdrs.IF_NONE_MATCH))
    return tag in named or named.strip() == "*"
