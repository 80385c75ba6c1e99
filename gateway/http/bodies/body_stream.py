"""Receive bodies as streams: 100 Continue, deadlines, decompression piece by piece."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import HttpVersion11

from gateway.http.bodies.content_encoding import HEADER_BYTES, Decompressor, window_bytes
from gateway.http.memory.deadline import MIN_BYTES_PER_S, Deadline
from gateway.http.problems import CLOSE, ProblemError
from shared.runtime.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from gateway.http.memory.body_memory import BodyMemory
    from gateway.http.request import Request

# After so long fewer clients may be sending.
_RETRY_AFTER_S: Final = 5
# Less work would cost less than handing it to a thread.
_DECOMPRESSED_PER_THREAD_BYTES: Final = 2**20


@asynccontextmanager
async def body_deadline(request: Request) -> AsyncIterator[Deadline]:
    """Limit the time to read the body inside.

    Raises:
        ProblemError: 408, it came too slowly; 503, it was evicted in favour of others; 400, the client has
            disconnected, which appears in the log only.
    """
    memory, timeout_s = request.memory, request.memory.budget.read_timeout_s
    expected = request.headers.get("Expect", "").lower()
    has_begun = bool(request.content.total_bytes)
    if expected == "100-continue" and request.version >= HttpVersion11 and not has_begun:
        # An HTTP/1.0 client would take it for the response.
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # else aiohttp takes the response for started
    try:
        async with asyncio.timeout(timeout_s) as limit:
            memory.deadline = Deadline(limit, timeout_s)
            yield memory.deadline
    except TimeoutError:
        if memory.deadline is not None and memory.deadline.is_revoked:
            raise _evicted() from None
        detail = f"The body came too slowly: {timeout_s:g} s, and 1 s more for each {MIN_BYTES_PER_S} bytes."
        raise ProblemError(HTTPStatus.REQUEST_TIMEOUT, detail, headers=CLOSE) from None
    except ConnectionError:
        detail = "The connection was lost before the body had come."
        raise ProblemError(HTTPStatus.BAD_REQUEST, detail, headers=CLOSE) from None
    finally:
        if memory.deadline is not None:
            memory.deadline.is_over = True


async def peek_body(request: Request, size: int) -> bytes:
    """The first bytes of the body, or all if it has fewer; `iter_body` yields them again.

    Raises:
        ProblemError: 408 too slow; 400 the client has disconnected.
    """
    async with body_deadline(request):
        while len(request.peeked) < size and (chunk := await request.content.readany()):
            request.peeked += chunk
    return request.peeked[:size]


async def iter_body(request: Request) -> AsyncIterator[bytes]:
    """The body as it arrives, including peeked bytes."""
    if request.peeked:
        yield request.peeked
    async for chunk in request.content.iter_any():
        yield chunk


async def stream_body(
    request: Request, encoding: str | None, write: Callable[[bytes], Awaitable[None]]
) -> None:
    """Pass the body to ``write`` as it arrives, decompressed, at most 3 MiB at a time.

    Raises:
        ProblemError: 408 too slow; 400 not compressed as declared, truncated, or with trailing data; and what
            ``write`` raises.
    """
    async with body_deadline(request) as deadline:
        with request.while_connected():
            decompressor = _StreamDecompressor(encoding, write, request.memory) if encoding else None
            async for chunk in iter_body(request):
                deadline.extend(len(chunk))
                await (decompressor.write(chunk) if decompressor else write(chunk))
            if decompressor:
                await decompressor.finish()


class _StreamDecompressor:
    """Decompresses a stream in threads, and reserves the memory for that."""

    def __init__(self, encoding: str, write: Callable[[bytes], Awaitable[None]], memory: BodyMemory) -> None:
        self._encoding = encoding
        self._decompressor = Decompressor(encoding)
        self._write = write
        self._memory = memory
        self._header = b""
        self._has_started = False

    async def write(self, compressed: bytes) -> None:
        if not self._has_started:
            self._header += compressed
            if len(self._header) < HEADER_BYTES:
                return
            compressed = self._start()
        await self._decompress(compressed)

    async def finish(self) -> None:
        if not self._has_started and self._header:
            await self._decompress(self._start())
        self._decompressor.check_whole()

    def _start(self) -> bytes:
        self._has_started = True
        self._memory.reserve(window_bytes(self._encoding, self._header))
        return self._header

    async def _decompress(self, compressed: bytes) -> None:
        steps = self._decompressor.decompress(compressed)
        while decompressed := await in_thread(_join, steps):
            await self._write(decompressed)


def _join(steps: Iterator[bytes]) -> bytes:
    some, size = [], 0
    for step in steps:
        some.append(step)
        size += len(step)
        if size >= _DECOMPRESSED_PER_THREAD_BYTES:
            break
    return b"".join(some)


def _evicted() -> ProblemError:
    detail = (
        "The body came too slowly for what it held of the gateway (memory, disk, a connection) and others "
        "needed. Send the same request again."
    )
    headers = {"Retry-After": str(_RETRY_AFTER_S), **CLOSE}
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers)
