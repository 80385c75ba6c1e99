"""The bytes of a request's body as a JSON value: bounded while they arrive, unpacked and parsed strictly."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson
from aiohttp import hdrs

from gateway.http.bodies.body_memory import SMALL_BYTES, UNCOUNTED_BYTES
from gateway.http.bodies.body_stream import arriving, pieces
from gateway.http.bodies.content_encoding import (
    check_length,
    encoding_of,
    max_packed_bytes,
    too_large,
    unpack,
)
from gateway.http.problems import NotJsonError, ProblemError
from shared.runtime.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.http.request import Request

# Far more arrays and objects than any ECG has: each costs memory and time many times its two bytes.
MAX_CONTAINERS: Final = 4096

_T = TypeVar("_T")


async def read_json(request: Request, read: Callable[[bytes | bytearray], _T], *, max_bytes: int) -> _T:
    """What ``read`` makes of the request's body, which is to be JSON.

    A large body is read in a thread, a few at a time: what it became in parsing is gone before the next.

    Raises:
        ProblemError: 413 too large, also when unpacked; 415 not JSON by its headers; 408 too slow; 503 too
            much in hand; and what ``read`` raises.
    """
    _check_content_type(request)
    encoding = encoding_of(request)
    body: bytes | bytearray = await _read_in_time(request, encoding, max_bytes)
    if encoding is None and len(body) <= SMALL_BYTES:
        return read(body)
    with request.while_connected():
        if encoding is not None:
            small = await in_thread(_unpacked_if_small, bytes(body), encoding, max_bytes)
            if small is not None:  # it need not wait for others' large ones
                request.memory.resize(len(small))
                return read(small)
        # For all of it, else those that wait for the next would hold what the one before gave.
        async with request.memory.budget.work:
            if encoding is not None:
                body = await in_thread(unpack, bytes(body), encoding, max_bytes)
                request.memory.resize(len(body))
            return await in_thread(read, body)


def parse_json(body: bytes | bytearray) -> Any:
    """The JSON value of a body. Integers past 64 bits become floats, which no integer field takes.

    For small bodies: one of 64 KiB takes up to 5 ms, in which nothing else happens.

    Raises:
        NotJsonError: And where the JSON breaks off.
        ProblemError: 400 and which key stands twice.
    """
    if not body or body.isspace():
        raise ProblemError(HTTPStatus.BAD_REQUEST, "The body is empty; expected JSON.")
    if len(body) > MAX_CONTAINERS and body.count(b"[") + body.count(b"{") > MAX_CONTAINERS:
        detail = f"The body has more than {MAX_CONTAINERS} arrays and objects; no request needs them."
        raise ProblemError(HTTPStatus.BAD_REQUEST, detail)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        reason = error.msg.replace("str is not valid UTF-8: surrogates not allowed", "it is not UTF-8")
        location = f"line {error.lineno} column {error.colno} (char {error.pos})"
        raise NotJsonError(reason, error.pos, location=location) from None
    if _may_repeat_a_key(body, document):
        _refuse_repeated_keys(body)
    return document


def _check_content_type(request: Request) -> None:
    declared = request.content_type
    is_json = declared == "application/json" or declared.endswith("+json")
    if not is_json and hdrs.CONTENT_TYPE in request.headers:
        detail = f"The body is declared as {declared}; expected Content-Type: application/json."
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)


async def _read_in_time(request: Request, encoding: str | None, max_bytes: int) -> bytes:
    """Read the body, but never hold more of it than may be sent, nor wait for who does not send it."""
    how = "unpacked"
    if encoding is not None:
        max_bytes, how = max_packed_bytes(max_bytes), "packed"
    if request.content.is_eof():
        return _arrived(request, max_bytes, how)
    check_length(request, max_bytes, is_packed=encoding is not None)
    async with arriving(request) as deadline:
        chunks: list[bytes] = []
        size = 0
        async for chunk in pieces(request):
            size += len(chunk)
            if size > max_bytes:
                raise too_large(max_bytes, how=how)
            request.memory.resize(size)
            chunks.append(chunk)
            deadline.extend(len(chunk))
        return b"".join(chunks)


def _arrived(request: Request, max_bytes: int, how: str) -> bytes:
    """The body, which is here as a whole as a small one is with its head; no time limit, 10 us less."""
    body = request.peeked + request.content.read_nowait()
    if len(body) > max_bytes:
        raise too_large(max_bytes, how=how)
    if len(body) > UNCOUNTED_BYTES:
        request.memory.resize(len(body))
    return body


def _unpacked_if_small(body: bytes, encoding: str, max_bytes: int) -> bytearray | None:
    """The body unpacked; None if it is large then, and within the limit as far as that is known.

    Raises:
        ProblemError: 413 too large when unpacked; 400 not as declared, not whole, or something follows.
    """
    try:
        return unpack(body, encoding, min(SMALL_BYTES, max_bytes))
    except ProblemError as problem:
        if problem.status is not HTTPStatus.REQUEST_ENTITY_TOO_LARGE or max_bytes <= SMALL_BYTES:
            raise
        return None


def _may_repeat_a_key(body: bytes | bytearray, document: object) -> bool:
    """Whether a key may have been lost in parsing: only then is the slow, exact parser asked.

    Without escapes every quotation mark of the body delimits a key or a string, and writing the parsed
    document gives the same number of them unless a repeated key went missing.
    """
    try:
        return b"\\" in body or body.count(b'"') != orjson.dumps(document).count(b'"')
    except TypeError:  # orjson reads deeper nesting than it writes
        return True


def _refuse_repeated_keys(body: bytes | bytearray) -> None:
    try:
        json.loads(body, object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError):  # numbers of thousands of digits, nesting without end
        detail = "The body nests too deeply, or holds a number of thousands of digits."
        raise ProblemError(HTTPStatus.BAD_REQUEST, detail) from None


def _without_repetition(pairs: list[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise ProblemError(HTTPStatus.BAD_REQUEST, f"The key {key[:64]!r} stands twice in one object.")
        seen.add(key)
