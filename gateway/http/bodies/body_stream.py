"""Bodies while they arrive: invited, timed, unpacked, handed on piece by piece."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from aiohttp import HttpVersion11

from gateway.http.bodies.content_encoding import HEADER_BYTES, Unpacker, window_bytes
from gateway.http.problems import CLOSE, ProblemError
from shared.runtime.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from gateway.http.bodies.body_memory import BodyMemory
    from gateway.http.request import Request

# Whoever sends a large body more slowly than a slow phone line does is not sending it.
_SLOWEST_BYTES_PER_S: Final = 32 * 1024
# Nobody rests longer than this on what they have sent before.
_LONGEST_CREDIT_S: Final = 30.0
# Until fewer send at a time.
_RETRY_AFTER_S: Final = 5
# A thread for less would cost more than it does.
_UNPACKED_AT_ONCE_BYTES: Final = 2**20


class Deadline:
    """Until when a body has to be here.

    Attributes:
        is_over: Whether nothing more is waited for.
    """

    def __init__(self, limit: asyncio.Timeout) -> None:
        self._limit = limit
        self.is_over = False
        self.is_revoked = False

    def extend(self, arrived: int) -> None:
        """Wait longer, because so many bytes have come."""
        if self.is_revoked:
            return
        latest = asyncio.get_running_loop().time() + _LONGEST_CREDIT_S
        self._limit.reschedule(min((self._limit.when() or 0.0) + arrived / _SLOWEST_BYTES_PER_S, latest))

    def revoke(self) -> None:
        """Wait no longer: others need what this body holds, and it comes too slowly for that."""
        self.is_over = self.is_revoked = True
        if not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())


@asynccontextmanager
async def arriving(request: Request) -> AsyncIterator[Deadline]:
    """Read the body inside, but don't wait for somebody who sends a byte a second.

    Raises:
        ProblemError: 408, it came too slowly; 503, too slowly for what it held, which others needed; 400, its
            sender has gone, which nobody but the log will hear.
    """
    memory, timeout_s = request.memory, request.memory.budget.read_timeout_s
    expected = request.headers.get("Expect", "").lower()
    has_begun = bool(request.content.total_bytes)
    if expected == "100-continue" and request.version >= HttpVersion11 and not has_begun:
        # To an older client it would be the answer.
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # for aiohttp, nothing of the answer was sent
    try:
        async with asyncio.timeout(timeout_s) as limit:
            memory.deadline = Deadline(limit)
            yield memory.deadline
    except TimeoutError:
        if memory.deadline is not None and memory.deadline.is_revoked:
            raise _revoked() from None
        detail = (
            f"The body came too slowly: {timeout_s:g} s, and 1 s more for each {_SLOWEST_BYTES_PER_S} bytes."
        )
        raise ProblemError(HTTPStatus.REQUEST_TIMEOUT, detail, headers=CLOSE) from None
    except ConnectionError:
        detail = "The connection was lost before the body had come."
        raise ProblemError(HTTPStatus.BAD_REQUEST, detail, headers=CLOSE) from None
    finally:
        if memory.deadline is not None:
            memory.deadline.is_over = True


async def first_bytes(request: Request, size: int) -> bytes:
    """So many bytes of the body, or all where it has fewer; they are still there for whoever reads it.

    Raises:
        ProblemError: 408 too slow; 400 its sender has gone.
    """
    async with arriving(request):
        while len(request.peeked) < size and (chunk := await request.content.readany()):
            request.peeked += chunk
    return request.peeked[:size]


async def pieces(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes, what was looked at before with it."""
    if request.peeked:
        yield request.peeked
    async for chunk in request.content.iter_any():
        yield chunk


async def receive(request: Request, encoding: str | None, take: Callable[[bytes], Awaitable[None]]) -> None:
    """Hand on the body as it arrives, unpacked, never more than 3 MiB of it at a time.

    Raises:
        ProblemError: 408 too slow; 400 not packed as declared, not whole, or something follows; whatever
            ``take`` raises.
    """
    async with arriving(request) as deadline:
        with request.while_connected():
            unpacking = _Unpacking(encoding, take, request.memory) if encoding else None
            async for chunk in pieces(request):
                deadline.extend(len(chunk))
                await (unpacking.take(chunk) if unpacking else take(chunk))
            if unpacking:
                await unpacking.end()


class _Unpacking:
    """Unpacks in threads what arrives, and counts the memory that this takes."""

    def __init__(self, encoding: str, take: Callable[[bytes], Awaitable[None]], memory: BodyMemory) -> None:
        self._encoding = encoding
        self._unpacker = Unpacker(encoding)
        self._take = take
        self._memory = memory
        self._beginning = b""
        self._has_begun = False

    async def take(self, packed: bytes) -> None:
        if not self._has_begun:
            self._beginning += packed
            if len(self._beginning) < HEADER_BYTES:
                return
            packed = self._begun()
        await self._unpack(packed)

    async def end(self) -> None:
        if not self._has_begun and self._beginning:
            await self._unpack(self._begun())
        self._unpacker.check_whole()

    def _begun(self) -> bytes:
        self._has_begun = True
        self._memory.take(window_bytes(self._encoding, self._beginning))
        return self._beginning

    async def _unpack(self, packed: bytes) -> None:
        steps = self._unpacker.unpacked(packed)
        while unpacked := await in_thread(_some, steps):
            await self._take(unpacked)


def _some(steps: Iterator[bytes]) -> bytes:
    some, size = [], 0
    for step in steps:
        some.append(step)
        size += len(step)
        if size >= _UNPACKED_AT_ONCE_BYTES:
            break
    return b"".join(some)


def _revoked() -> ProblemError:
    detail = (
        "The body came too slowly for what it held of the gateway's memory or disk, which others needed. "
        "Send the same request again."
    )
    headers = {"Retry-After": str(_RETRY_AFTER_S), **CLOSE}
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=headers)
