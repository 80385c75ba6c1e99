"""Bodies that come packed, as their Content-Encoding says: unpacked a step at a time, within bounds."""

from __future__ import annotations

import zlib
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Protocol

import zstandard
from aiohttp import hdrs

from gateway.http.problems import CLOSE, ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from gateway.http.request import Request

# The largest that a sender may count on (RFC 9659); more would be memory that each body could ask for.
MAX_ZSTD_WINDOW_BYTES: Final = 8 * 2**20

# What JSON may have before it is unpacked, of what it may have after: it packs to a half at least, whatever
# its samples. 11 bytes that are a table of codes for hardly anything take 1 us, and 16 MiB of them 2 s.
_PACKED_PART: Final = 2
_SMALL_BYTES: Final = 64 * 1024
# Blocks of nothing, or of less than they take themselves, are no way to pack. zstd keeps a block of 128 KiB
# until it is whole, and a sender that flushes after each KiB adds 1 %.
_FREE_BYTES: Final = 256 * 1024
_FREE_PART: Final = 8

_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
# Each step copies what it leaves of the packed bytes that it was given.
_GZIP_STEP_BYTES: Final = 64 * 1024
_GZIP_STEP_UNPACKED_BYTES: Final = 1024 * 1024
# Four bytes may become a block of 128 KiB, and the library bounds the input only: 2 MiB come of this at most.
# Steps of 64 KiB would unpack 800 MB/s, these 300.
_ZSTD_STEP_BYTES: Final = 64
# The header of a frame has so many bytes at the most.
HEADER_BYTES: Final = 18


class _Coding(Protocol):
    """What unpacks one body."""

    unit: str

    @property
    def is_at_end(self) -> bool:
        """Whether all of it was unpacked."""

    def step(self, packed: memoryview) -> tuple[bytes, memoryview]:
        """What some of the packed bytes become, and those that are left."""


class _Gzip:
    unit = "gzip member"

    def __init__(self) -> None:
        self._unpacker = zlib.decompressobj(_GZIP_WINDOW)

    @property
    def is_at_end(self) -> bool:
        return self._unpacker.eof

    def step(self, packed: memoryview) -> tuple[bytes, memoryview]:
        given = packed[:_GZIP_STEP_BYTES]
        unpacked = self._unpacker.decompress(given, _GZIP_STEP_UNPACKED_BYTES)
        left = len(self._unpacker.unconsumed_tail or self._unpacker.unused_data)
        return unpacked, packed[len(given) - left :]


class _Zstd:
    unit = "zstd frame"

    def __init__(self) -> None:
        self._unpacker = _zstd_decompressor().decompressobj()

    @property
    def is_at_end(self) -> bool:
        return self._unpacker.eof

    def step(self, packed: memoryview) -> tuple[bytes, memoryview]:
        unpacked = self._unpacker.decompress(packed[:_ZSTD_STEP_BYTES])
        unused = len(self._unpacker.unused_data) if self._unpacker.eof else 0
        return unpacked, packed[min(_ZSTD_STEP_BYTES, len(packed)) - unused :]


_CODINGS: Final[Mapping[str, Callable[[], _Coding]]] = {"gzip": _Gzip, "zstd": _Zstd}
# Two names of one coding (RFC 9110, 8.4.1.3).
_OTHER_NAMES: Final = {"x-gzip": "gzip"}
ACCEPTED: Final = ", ".join(_CODINGS)


class Unpacker:
    """Unpacks one body while it arrives."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._coding = _CODINGS[encoding]()
        self._allowance = _FREE_BYTES

    def unpacked(self, packed: bytes | memoryview) -> Iterator[bytes]:
        """What the next piece of the body becomes, at most 2 MiB at a time.

        Raises:
            ProblemError: 400, it is not what it was declared as, something follows its end, or it gives less
                than it takes.
        """
        left = memoryview(packed)
        while left:
            if self._coding.is_at_end:
                what = f"Something follows the end of the {self._encoding} body"
                detail = f"{what}; send all of it as one {self._coding.unit}."
                raise ProblemError(HTTPStatus.BAD_REQUEST, detail)
            taken = len(left)
            try:
                unpacked, left = self._coding.step(left)
            except (zlib.error, zstandard.ZstdError):
                raise _not_as_declared(self._encoding) from None
            self._account(taken - len(left), len(unpacked))
            if unpacked:
                yield unpacked

    def _account(self, taken: int, given: int) -> None:
        self._allowance += given + given // _FREE_PART - taken
        if self._allowance < 0:
            detail = f"The {self._encoding} body gives less than it takes; send it as it is."
            raise ProblemError(HTTPStatus.BAD_REQUEST, detail)

    def check_whole(self) -> None:
        """Return if the body has ended.

        Raises:
            ProblemError: 400, it breaks off.
        """
        if not self._coding.is_at_end:
            detail = f"The {self._encoding} body breaks off before its end."
            raise ProblemError(HTTPStatus.BAD_REQUEST, detail)


def encoding_of(request: Request) -> str | None:
    """How the request's body is packed; None if it is not.

    Raises:
        ProblemError: 415, in a way that is not known here.
    """
    if hdrs.CONTENT_ENCODING not in request.headers:
        return None
    # Fields of one name mean what one field with commas between means: packed more than once.
    encoding = ", ".join(request.headers.getall(hdrs.CONTENT_ENCODING)).strip().lower()
    encoding = _OTHER_NAMES.get(encoding, encoding)
    if encoding == "identity":
        return None
    if encoding not in _CODINGS:
        detail = (
            f"Content-Encoding {encoding[:64]!r} is not known here; send {' or '.join(_CODINGS)} or none."
        )
        headers = {"Accept-Encoding": ACCEPTED}
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers=headers)
    return encoding


def max_packed_bytes(max_bytes: int) -> int:
    """How large a packed body of JSON may be of which so many bytes are taken once it is unpacked."""
    return max(max_bytes // _PACKED_PART, min(max_bytes, _SMALL_BYTES))


def max_bytes_of_unpacker(max_bytes: int) -> int:
    """How large a packed body may be that `Unpacker` unpacks to so many bytes."""
    return max_bytes + max_bytes // _FREE_PART + _FREE_BYTES


def check_length(request: Request, max_bytes: int, *, is_packed: bool = False) -> None:
    """Return unless the request states a body of more than so many bytes: before its sender is invited.

    Raises:
        ProblemError: 413.
    """
    if (request.content_length or 0) > max_bytes:
        raise too_large(max_bytes, how="packed" if is_packed else "unpacked")


def unpack(body: bytes, encoding: str, max_bytes: int) -> bytearray:
    """A whole body; of one that would become too large, no more than it may have is ever held.

    Raises:
        ProblemError: 413 too large when unpacked; 400 not as declared, not whole, something follows, or it
            gives less than it takes.
    """
    unpacker, unpacked = Unpacker(encoding), bytearray()
    for piece in unpacker.unpacked(body):
        if len(unpacked) + len(piece) > max_bytes:
            raise too_large(max_bytes)
        unpacked += piece
    unpacker.check_whole()
    return unpacked


def window_bytes(encoding: str, beginning: bytes) -> int:
    """Memory that unpacking takes beside what it gives, by the first 18 bytes of the body.

    Raises:
        ProblemError: 400, it is not what it was declared as, or needs a larger window than is taken.
    """
    if encoding == "gzip":
        return 1 << zlib.MAX_WBITS
    try:
        window: int = zstandard.get_frame_parameters(beginning[:HEADER_BYTES]).window_size
    except zstandard.ZstdError:
        raise _not_as_declared(encoding) from None
    if window > MAX_ZSTD_WINDOW_BYTES:
        raise _not_as_declared(encoding)
    return window


def too_large(max_bytes: int, *, how: str = "unpacked") -> ProblemError:
    """The 413 of a body whose rest will not be read."""
    detail = f"The body, {how}, may have {max_bytes} bytes at most."
    # What is still on its way would be taken for the next request.
    return ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers=CLOSE)


def _zstd_decompressor() -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES)


def _not_as_declared(encoding: str) -> ProblemError:
    detail = f"The body is declared as {encoding} and is not."
    if encoding == "zstd":
        detail = "The body is declared as zstd and is not, or needs a window of more than 8 MiB (RFC 9659)."
    return ProblemError(HTTPStatus.BAD_REQUEST, detail)
