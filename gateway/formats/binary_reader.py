"""The reader of the binary format, ``application/vnd.isoline.ecg``: a JSON header and samples, as a stream.

docs/binary.md specifies it. ECGs within the limits of JSON are held in memory, longer ones spooled to disk.
"""

from __future__ import annotations

import struct
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from gateway.formats.models import read_header
from gateway.formats.spool import Spool
from gateway.http.bodies.body_stream import stream_body
from gateway.http.bodies.content_encoding import (
    check_content_length,
    content_encoding_of,
    max_compressed_bytes,
)
from gateway.http.bodies.json_body import parse_json
from gateway.http.problems import CLOSE, ProblemError
from shared.runtime.settings import BYTES_PER_SAMPLE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from gateway.formats.models import BinaryHeader
    from gateway.formats.spool import SpoolDirectory
    from gateway.http.memory.body_memory import BodyMemory
    from gateway.http.request import Request
    from shared.domain.ecg import Ecg
    from shared.domain.recording import Recording
    from shared.ports.ecgs import Receipt
    from shared.runtime.settings import SubmissionLimits

CONTENT_TYPE: Final = "application/vnd.isoline.ecg"

MAGIC: Final = b"ISOLINE"
_VERSION: Final = 1
# Magic, version, length of the header.
_PREAMBLE: Final = struct.Struct("<7sBI")
# A name of 32 escaped characters and the lead's other fields take 425 bytes.
_MAX_BYTES_OF_A_LEAD: Final = 512
_LEAST_MAX_HEADER_BYTES: Final = 64 * 1024


class BinaryReader:
    """A `gateway.formats.registry.Reader` of the binary format."""

    accepts_recordings = True

    def __init__(self, limits: SubmissionLimits, spool_directory: SpoolDirectory) -> None:
        self._limits = limits
        self._spool_directory = spool_directory
        self._max_header_bytes = max(limits.max_leads * _MAX_BYTES_OF_A_LEAD, _LEAST_MAX_HEADER_BYTES)

    def max_bytes(self, encoding: str | None) -> int:
        """The size of the longest recording with the longest header."""
        samples_bytes = BYTES_PER_SAMPLE * self._limits.max_recording_samples
        limit = _PREAMBLE.size + self._max_header_bytes + samples_bytes
        return limit if encoding is None else max_compressed_bytes(limit)

    async def read(
        self, request: Request, submit: Callable[[Ecg | Recording], Awaitable[Receipt]], *, now: datetime
    ) -> Receipt:
        """Submit the ECG or recording in the request's body; a recording is spooled to disk until then.

        Raises:
            ProblemError: 400 not of this format, not as long as its header says, or not compressed as
                declared; 408 too slow; 413 it or its header is too large; 415 unsupported content encoding;
                422 with all problems of the header; 503 a budget of memory or disk is used up.
            UnavailableError: The disk is full or broken.
        """
        encoding, limits = content_encoding_of(request), self._limits
        check_content_length(request, self.max_bytes(encoding), is_compressed=encoding is not None)
        content_length = None if encoding else request.content_length
        async with AsyncExitStack() as opened:

            async def begin(header: BinaryHeader) -> _MemoryBuffer | Spool:
                if not header.is_long(limits):
                    return _MemoryBuffer(request.memory)
                caller, deadline = request.caller.name, request.memory.deadline
                spool = self._spool_directory.open(header.leads, caller=caller, deadline=deadline)
                return await opened.enter_async_context(spool)

            parser = _BinaryParser(
                lambda head: read_header(_document(head), limits=limits, now=now),
                begin,
                content_length,
                max_header_bytes=self._max_header_bytes,
            )
            await stream_body(request, encoding, parser.feed)
            header, samples = parser.finish()
            if isinstance(samples, Spool):
                return await submit(header.recording(samples.blocks))
            return await submit(header.ecg(samples.detach()))


class _MemoryBuffer:
    """Collects samples in memory."""

    def __init__(self, memory: BodyMemory) -> None:
        self._buffer = bytearray()
        self._memory = memory

    async def write(self, piece: memoryview) -> None:
        self._memory.reserve(len(piece))
        self._buffer += piece

    def detach(self) -> bytearray:
        """Return all samples and hold them no longer."""
        buffer, self._buffer = self._buffer, bytearray()
        return buffer


class _BinaryParser:
    """An incremental parser: splits a body into header and samples as its pieces arrive."""

    def __init__(
        self,
        read: Callable[[bytes], BinaryHeader],
        begin: Callable[[BinaryHeader], Awaitable[_MemoryBuffer | Spool]],
        content_length: int | None,
        *,
        max_header_bytes: int,
    ) -> None:
        self._read = read
        self._begin = begin
        self._content_length = content_length
        self._max_header_bytes = max_header_bytes
        self._head = bytearray()
        self._started: tuple[BinaryHeader, _MemoryBuffer | Spool] | None = None
        self._missing_bytes = 0

    async def feed(self, piece: bytes) -> None:
        """Parse the next piece.

        Raises:
            ProblemError: The body is malformed.
        """
        left = memoryview(piece)
        if self._started is None:
            left, header = self._feed_header(left)
            if header is None:
                return
            self._started = header, await self._begin(header)
            self._missing_bytes = header.num_bytes
        if len(left) > self._missing_bytes:
            raise _bad_request("Something follows the samples that the header tells of.")
        self._missing_bytes -= len(left)
        await self._started[1].write(left)

    def finish(self) -> tuple[BinaryHeader, _MemoryBuffer | Spool]:
        """The header and its samples, at the end of the body.

        Raises:
            ProblemError: The body is truncated.
        """
        if self._started is None:
            what = "breaks off in its header" if self._head else f"is empty; expected {CONTENT_TYPE}"
            raise _bad_request(f"The body {what}.")
        if self._missing_bytes:
            total = self._started[0].num_bytes
            found = total - self._missing_bytes
            raise _bad_request(f"The body breaks off: expected {total} bytes of samples, found {found}.")
        return self._started

    def _feed_header(self, left: memoryview) -> tuple[memoryview, BinaryHeader | None]:
        """The rest of the piece after the header, and the header once it is complete."""
        left = self._fill(_PREAMBLE.size, left)
        if len(self._head) < _PREAMBLE.size:
            return left, None
        end = _PREAMBLE.size + _header_bytes(self._head, self._max_header_bytes)
        left = self._fill(end, left)
        if len(self._head) < end:
            return left, None
        header = self._read(bytes(self._head[_PREAMBLE.size :]))
        declared_bytes = end + header.num_bytes
        if self._content_length not in {None, declared_bytes}:
            detail = f"The header tells of {declared_bytes} bytes in all, "
            raise _bad_request(f"{detail}Content-Length of {self._content_length}.")
        return left, header

    def _fill(self, size: int, left: memoryview) -> memoryview:
        """Fill the buffer to so many bytes; returns the rest of the piece."""
        missing = max(size - len(self._head), 0)
        self._head += left[:missing]
        return left[missing:]


def _header_bytes(head: bytearray, limit: int) -> int:
    """The length of the JSON header, from the preamble."""
    magic, version, size = _PREAMBLE.unpack_from(head)
    if magic != MAGIC:
        raise _bad_request(
            f"The body is declared as {CONTENT_TYPE} and does not begin with {MAGIC.decode()}."
        )
    if version != _VERSION:
        raise _bad_request(f"The body is of version {version}; only version {_VERSION} is known here.")
    if size > limit:
        detail = f"The header may have {limit} bytes at most, and this one has {size}."
        raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers=CLOSE)
    return int(size)


def _document(head: bytes) -> object:
    try:
        return parse_json(head)
    except ProblemError as problem:  # its detail is about the body
        raise _bad_request(problem.detail.replace("The body", "The header", 1)) from None


def _bad_request(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.BAD_REQUEST, detail, headers=CLOSE)
