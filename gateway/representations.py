"""How an answer travels: not at all if the client has it already, gzipped if that is worth it."""

from __future__ import annotations

import gzip
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.requests import Request

# Below this a gzipped answer still takes one packet, and packing it costs time on both sides.
_WORTH_PACKING_BYTES: Final = 1024
_PACKABLE: Final = ("text/", "application/json", "application/javascript", "application/problem+json")
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
        self._plain = body, {**headers, "ETag": f'"{tag}"'}
        packed = gzip.compress(body, mtime=0)
        as_packed = {"Content-Encoding": "gzip", "ETag": f'"{tag}{_GZIP_SUFFIX}"'}
        self._packed = packed, {**headers, **as_packed}

    def response(self, request: Request) -> web.Response:
        """It, as the client takes it."""
        body, headers = self._packed if is_packed(request, self._plain[0]) else self._plain
        return web.Response(body=body, headers=headers)


def represented(request: Request, response: web.StreamResponse) -> web.StreamResponse:
    """The answer as 304, if the client names the tag of what it has; else gzipped, if large and accepted."""
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return response
    headers = response.headers
    if headers.get(hdrs.CONTENT_TYPE, "").startswith(_PACKABLE):
        headers[hdrs.VARY] = "Accept-Encoding"
        if hdrs.CONTENT_ENCODING not in headers and is_packed(request, response.body):
            _pack(response)
    tag = headers.get(hdrs.ETAG)
    if tag is not None and hdrs.IF_NONE_MATCH in request.headers and _has_it(request, tag):
        kept = {name: headers[name] for name in _KEPT_BY_304 if name in headers}
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=kept)
    return response


def is_packed(request: Request, body: bytes) -> bool:
    """Whether a body of text goes to this client gzipped."""
    return len(body) >= _WORTH_PACKING_BYTES and accepts_gzip(request)


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


def _pack(response: web.Response) -> None:
    response.enable_compression(web.ContentCoding.gzip)
    if response.etag is not None:
        response.etag = response.etag.value + _GZIP_SUFFIX


def _has_it(request: Request, tag: str) -> bool:
    """Whether the client names this tag, by weak comparison (RFC 9110, 13.1.2), or any."""
    named = ",".join(request.headers.getall(hdrs.IF_NONE_MATCH))
    return tag in named or named.strip() == "*"
