"""How an answer travels: not at all if the client has it already, gzipped if that is worth it."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import ETag, hdrs, web

if TYPE_CHECKING:
    from gateway.requests import Request

# Below this a gzipped answer still takes one packet, and packing it costs time on both sides.
_WORTH_PACKING_BYTES: Final = 1024
_PACKABLE: Final = ("text/", "application/json", "application/javascript", "application/problem+json")

# Two encodings of one result differ in their bytes, so their strong tags must differ (RFC 9110, 8.8.3.3).
_GZIP_SUFFIX: Final = "-gzip"
_KEPT_BY_304: Final = ("ETag", "Cache-Control", "Vary", "Content-Security-Policy")


def represented(request: Request, response: web.StreamResponse) -> web.StreamResponse:
    """The answer as 304, if the client names the tag of what it has; else gzipped, if large and accepted."""
    if not isinstance(response, web.Response) or not isinstance(response.body, bytes):
        return response
    headers = response.headers
    if headers.get(hdrs.CONTENT_TYPE, "").startswith(_PACKABLE):
        headers[hdrs.VARY] = "Accept-Encoding"
        if is_packed(request, response.body):
            _pack(response)
    if (
        hdrs.IF_NONE_MATCH in request.headers
        and response.etag is not None
        and _has_it(request, response.etag)
    ):
        kept = {name: headers[name] for name in _KEPT_BY_304 if name in headers}
        return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=kept)
    return response


def is_packed(request: Request, body: bytes) -> bool:
    """Whether a body of text goes to this client gzipped."""
    return len(body) >= _WORTH_PACKING_BYTES and accepts_gzip(request)


def accepts_gzip(request: Request) -> bool:
    """Whether the client takes gzip: it names it, by either name, or anything, with a quality above 0."""
    qualities = dict(map(_quality, ",".join(request.headers.getall("Accept-Encoding", [])).split(",")))
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


def _has_it(request: Request, tag: ETag) -> bool:
    """By weak comparison, as RFC 9110 (13.1.2) wants it here; either encoding of a result is the result."""
    named = {other.value.removesuffix(_GZIP_SUFFIX) for other in request.if_none_match or ()}
    return "*" in named or tag.value.removesuffix(_GZIP_SUFFIX) in named
