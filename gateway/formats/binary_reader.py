"""The binary form of an ECG, ``application/vnd.isoline.ecg``: a JSON header and samples, read as they arrive.

docs/binary.md tells it byte by byte. What JSON may have too is held in memory; what is longer goes to disk.
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
    from gateway.formats.spool import Spools
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
# A name of 32 characters, each written as an escape, and the lead's other fields take 425 bytes.
_MAX_BYTES_OF_A_LEAD: Final = 512
_LEAST_MAX_HEADER_BYTES: Final = 64 * 1024


class BinaryReader:
    """A `gateway.formats.registry.Reader` of the binary form."""

    takes_recordings = True

    def __init__(self, limits: SubmissionLimits, spools: Spools) -> None:
        self._limits = limits
        self._spools = spools
        self._max_header_bytes = max(limits.max_leads * _MAX_BYTES_OF_A_LEAD, _LEAST_MAX_HEADER_BYTES)

    def max_bytes(self, encoding: str | None) -> int:
        """As many as the longest recording has, with the longest header."""
        samples_bytes = BYTES_PER_SAMPLE * self._limits.max_recording_samples
        most = _PREAMBLE.size + self._max_header_bytes + samples_bytes
        return most if encoding is None else max_compressed_bytes(most)

    async def read(
        self, request: Request, take: Callable[[Ecg | Recording], Awaitable[Receipt]], *, now: datetime
    ) -> Receipt:
        """What ``take`` returns for what the request's body holds; a recording lies on disk until then.

        Raises:
            ProblemError: 400 not of this form, not as long as its header says, or not packed as declared; 408
                too slow; 413 it or its header is too large; 415 packed in a way that is not known; 422 with
                all that is wrong with the header; 503 too much in hand.
            UnavailableError: The disk is full or broken.
        """
        encoding, limits = content_encoding_of(request), self._limits
        check_content_length(request, self.max_bytes(encoding), is_compressed=encoding is not None)
        stated_bytes = None if encoding else request.content_length
        async with AsyncExitStack() as opened:

            async def begin(header: BinaryHeader) -> _Memory | Spool:
                if not header.is_long(limits):
                    return _Memory(request.memory)
                caller, deadline = request.caller.name, request.memory.deadline
                spool = self._spools.opened(header.leads, caller=caller, deadline=deadline)
                return await opened.enter_async_context(spool)

            intake = _Intake(
                lambda head: read_header(_document(head), limits=limits, now=now),
                begin,
                stated_bytes,
                max_header_bytes=self._max_header_bytes,
            )
            await stream_body(request, encoding, intake.take)
            header, samples = intake.whole()
            if isinstance(samples, Spool):
                return await take(header.recording(samples.blocks))
            return await take(header.ecg(samples.handed_over()))


class _Memory:
    """Samples that are few enough to be held."""

    def __init__(self, memory: BodyMemory) -> None:
        self._buffer = bytearray()
        self._memory = memory

    async def write(self, piece: memoryview) -> None:
        self._memory.reserve(len(piece))
        self._buffer += piece

    def handed_over(self) -> bytearray:
        """All of them, which are not held here any longer."""
        buffer, self._buffer = self._buffer, bytearray()
        return buffer


class _Intake:
    """Tells the parts of a body apart as its pieces come, however they were cut."""

    def __init__(
        self,
        read: Callable[[bytes], BinaryHeader],
        begin: Callable[[BinaryHeader], Awaitable[_Memory | Spool]],
        stated_bytes: int | None,
        *,
        max_header_bytes: int,
    ) -> None:
        self._read = read
        self._begin = begin
        self._stated_bytes = stated_bytes
        self._max_header_bytes = max_header_bytes
        self._head = bytearray()
        self._begun: tuple[BinaryHeader, _Memory | Spool] | None = None
        self._missing_bytes = 0

    async def take(self, piece: bytes) -> None:
        """Read the next piece.

        Raises:
            ProblemError: It does not fit what came before.
        """
        left = memoryview(piece)
        if self._begun is None:
            left, header = self._take_head(left)
            if header is None:
                return
            self._begun = header, await self._begin(header)
            self._missing_bytes = header.num_bytes
        if len(left) > self._missing_bytes:
            raise _broken("Something follows the samples that the header tells of.")
        self._missing_bytes -= len(left)
        await self._begun[1].write(left)

    def whole(self) -> tuple[BinaryHeader, _Memory | Spool]:
        """The header and its samples, now that no piece will come.

        Raises:
            ProblemError: Some of it did not come.
        """
        if self._begun is None:
            what = "breaks off in its header" if self._head else f"is empty; expected {CONTENT_TYPE}"
            raise _broken(f"The body {what}.")
        if self._missing_bytes:
            total = self._begun[0].num_bytes
            found = total - self._missing_bytes
            raise _broken(f"The body breaks off: expected {total} bytes of samples, found {found}.")
        return self._begun

    def _take_head(self, left: memoryview) -> tuple[memoryview, BinaryHeader | None]:
        """What is left behind the header, and the header once it is whole."""
        left = self._filled(_PREAMBLE.size, left)
        if len(self._head) < _PREAMBLE.size:
            return left, None
        end = _PREAMBLE.size + _header_bytes(self._head, self._max_header_bytes)
        left = self._filled(end, left)
        if len(self._head) < end:
            return left, None
        header = self._read(bytes(self._head[_PREAMBLE.size :]))
        told_bytes = end + header.num_bytes
        if self._stated_bytes not in {None, told_bytes}:
            detail = f"The header tells of {told_bytes} bytes in all, Content-Length of {self._stated_bytes}."
            raise _broken(detail)
        return left, header

    def _filled(self, size: int, left: memoryview) -> memoryview:
        """Keep what is missing of so many bytes; what is left then."""
        missing = max(size - len(self._head), 0)
        self._head += left[:missing]
        return left[missing:]


def _header_bytes(head: bytearray, most: int) -> int:
    """How long the header is, by what comes before it."""
    magic, version, size = _PREAMBLE.unpack_from(head)
    if magic != MAGIC:
        raise _broken(f"The body is declared as {CONTENT_TYPE} and does not begin with {MAGIC.decode()}.")
    if version != _VERSION:
        raise _broken(f"The body is of version {version}; only version {_VERSION} is known here.")
    if size > most:
        detail = f"The header may have {most} bytes at most, and this one has {size}."
        raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers=CLOSE)
    return int(size)


def _document(head: bytes) -> object:
    try:
        return parse_json(head)
    except ProblemError as problem:  # whose words are those for a body that is JSON as a whole
        raise _broken(problem.detail.replace("The body", "The header", 1)) from None


def _broken(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.BAD_REQUEST, detail, headers=CLOSE)
