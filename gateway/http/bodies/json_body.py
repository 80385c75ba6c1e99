"""Read a request's body as JSON: limited in size and time, decompressed, strictly parsed."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson
from aiohttp import hdrs

from gateway.http.bodies.body_stream import body_deadline, iter_body
from gateway.http.bodies.content_encoding import (
    check_content_length,
    content_encoding_of,
    decompress_body,
    max_compressed_json_bytes,
    too_large,
)
from gateway.http.memory.body_memory import SMALL_BYTES, UNCOUNTED_BYTES
from gateway.http.problems import NotJsonError, ProblemError
from shared.runtime.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.http.request import Request

# Far more arrays and objects than any ECG has; each costs many times the memory and time of its two bytes.
MAX_CONTAINERS: Final = 4096

_T = TypeVar("_T")


async def read_json(request: Request, parse: Callable[[bytes], _T], *, max_bytes: int) -> _T:
    """The result of ``parse`` for the JSON body of the request.

    Large bodies are parsed in threads, a few at a time, which limits the memory that parsing takes.

    Raises:
        ProblemError: 413 too large, also when decompressed; 415 not JSON by its headers; 408 too slow; 503
            the memory budget is used up; and what ``parse`` raises.
    """
    _check_content_type(request)
    encoding = content_encoding_of(request)
    body = await _read_body(request, encoding, max_bytes)
    if encoding is None and len(body) <= SMALL_BYTES:
        return parse(body)
    with request.while_connected():
        if encoding is not None:
            decompressed = await in_thread(_decompress_if_small, body, encoding, max_bytes)
            if decompressed is not None:  # small bodies don't wait for the semaphore of large ones
                request.memory.resize(len(decompressed))
                return parse(decompressed)
        # Held for both steps, else decompressed bodies would pile up before the second.
        async with request.memory.budget.work_semaphore:
            if encoding is not None:
                body = await in_thread(decompress_body, body, encoding, max_bytes)
                request.memory.resize(len(body))
            return await in_thread(parse, body)


def parse_json(body: bytes) -> Any:
    """The JSON value of a body. Integers past 64 bits become floats, which no integer field takes.

    For small bodies: one of 64 KiB blocks the event loop for up to 5 ms.

    Raises:
        NotJsonError: With the offset of the error.
        ProblemError: 400 with the name of a repeated key.
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
    if _may_have_repeated_keys(body, document):
        _refuse_repeated_keys(body)
    return document


def _check_content_type(request: Request) -> None:
    declared = request.content_type
    is_json = declared == "application/json" or declared.endswith("+json")
    if not is_json and hdrs.CONTENT_TYPE in request.headers:
        detail = f"The body is declared as {declared}; expected Content-Type: application/json."
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)


async def _read_body(request: Request, encoding: str | None, max_bytes: int) -> bytes:
    """Read the body within its size limit and its deadline."""
    how = "unpacked"
    if encoding is not None:
        max_bytes, how = max_compressed_json_bytes(max_bytes), "packed"
    if request.content.is_eof():
        return _read_buffered(request, max_bytes, how)
    check_content_length(request, max_bytes, is_compressed=encoding is not None)
    async with body_deadline(request) as deadline:
        chunks: list[bytes] = []
        size = 0
        async for chunk in iter_body(request):
            size += len(chunk)
            if size > max_bytes:
                raise too_large(max_bytes, how=how)
            request.memory.resize(size)
            chunks.append(chunk)
            deadline.extend(len(chunk))
        return b"".join(chunks)


def _read_buffered(request: Request, max_bytes: int, how: str) -> bytes:
    """The body when all of it has arrived, as a small one does with its head: saves 10 us of deadline."""
    body = request.peeked + request.content.read_nowait()
    if len(body) > max_bytes:
        raise too_large(max_bytes, how=how)
    if len(body) > UNCOUNTED_BYTES:
        request.memory.resize(len(body))
    return body


def _decompress_if_small(body: bytes, encoding: str, max_bytes: int) -> bytes | None:
    """The decompressed body; None if it is large, and not known to exceed the limit.

    Raises:
        ProblemError: 413 too large when decompressed; 400 not of the declared encoding, truncated, or with
            trailing data.
    """
    try:
        return decompress_body(body, encoding, min(SMALL_BYTES, max_bytes))
    except ProblemError as problem:
        if problem.status is not HTTPStatus.REQUEST_ENTITY_TOO_LARGE or max_bytes <= SMALL_BYTES:
            raise
        return None


def _may_have_repeated_keys(body: bytes, document: object) -> bool:
    """Whether parsing may have dropped a repeated key: only then the slow, exact parser is used.

    Without escapes every quotation mark of the body delimits a key or a string, and serializing the parsed
    document gives the same number of them unless a repeated key was dropped.
    """
    try:
        return b"\\" in body or body.count(b'"') != orjson.dumps(document).count(b'"')
    except TypeError:  # orjson parses deeper nesting than it serializes
        return True


def _refuse_repeated_keys(body: bytes) -> None:
    try:
        json.loads(body, object_pairs_hook=_check_unique_keys)
    except (ValueError, RecursionError):  # numbers of thousands of digits, nesting without end
        detail = "The body nests too deeply, or holds a number of thousands of digits."
        raise ProblemError(HTTPStatus.BAD_REQUEST, detail) from None


def _check_unique_keys(pairs: list[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise ProblemError(HTTPStatus.BAD_REQUEST, f"The key {key[:64]!r} stands twice in one object.")
        seen.add(key)
