"""Content encodings of request bodies: decompressed in steps, within limits of memory and CPU."""

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

# The largest window that a receiver must support (RFC 9659).
MAX_ZSTD_WINDOW_BYTES: Final = 8 * 2**20

# Compressed JSON may have half of the decompressed limit: any samples compress to half or less. A block of
# 11 bytes that is a code table for hardly any content takes 1 us, and 16 MiB of them take 2 s.
_MIN_COMPRESSION_RATIO: Final = 2
_SMALL_BYTES: Final = 64 * 1024
# The overhead of a body is what it is longer compressed than decompressed. It may have 256 KiB, and one byte
# more for every 8 of output: zstd buffers a block of 128 KiB until it is complete, and a sender that flushes
# after each KiB adds 1 %.
_OVERHEAD_ALLOWANCE_BYTES: Final = 256 * 1024
_OUTPUT_BYTES_PER_OVERHEAD_BYTE: Final = 8

_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
# Each step copies the rest of its input.
_GZIP_STEP_INPUT_BYTES: Final = 64 * 1024
_GZIP_STEP_OUTPUT_BYTES: Final = 1024 * 1024
# Four bytes may become a block of 128 KiB, and the library limits its input only: these become 2 MiB at most.
# Steps of 64 KiB would decompress 800 MB/s, these 300.
_ZSTD_STEP_INPUT_BYTES: Final = 64
# The maximal size of a frame header.
HEADER_BYTES: Final = 18


class _Coding(Protocol):
    """Decompresses one body."""

    unit: str

    @property
    def is_at_end(self) -> bool:
        """Whether the body's end was reached."""

    def step(self, compressed: memoryview) -> tuple[bytes, memoryview]:
        """Decompress some of the input; returns the output and the rest of the input."""


class _Gzip:
    unit = "gzip member"

    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(_GZIP_WINDOW)

    @property
    def is_at_end(self) -> bool:
        return self._decompressor.eof

    def step(self, compressed: memoryview) -> tuple[bytes, memoryview]:
        input_bytes = compressed[:_GZIP_STEP_INPUT_BYTES]
        decompressed = self._decompressor.decompress(input_bytes, _GZIP_STEP_OUTPUT_BYTES)
        left = len(self._decompressor.unconsumed_tail or self._decompressor.unused_data)
        return decompressed, compressed[len(input_bytes) - left :]


class _Zstd:
    unit = "zstd frame"

    def __init__(self) -> None:
        self._decompressor = _zstd_decompressor().decompressobj()

    @property
    def is_at_end(self) -> bool:
        return self._decompressor.eof

    def step(self, compressed: memoryview) -> tuple[bytes, memoryview]:
        decompressed = self._decompressor.decompress(compressed[:_ZSTD_STEP_INPUT_BYTES])
        unused = len(self._decompressor.unused_data) if self._decompressor.eof else 0
        return decompressed, compressed[min(_ZSTD_STEP_INPUT_BYTES, len(compressed)) - unused :]


_CODINGS: Final[Mapping[str, Callable[[], _Coding]]] = {"gzip": _Gzip, "zstd": _Zstd}
# RFC 9110, 8.4.1.3.
_ALIASES: Final = {"x-gzip": "gzip"}
ACCEPTED: Final = ", ".join(_CODINGS)


class Decompressor:
    """Decompresses one body while it arrives."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._coding = _CODINGS[encoding]()
        self._allowance = _OVERHEAD_ALLOWANCE_BYTES

    def decompress(self, compressed: bytes | memoryview) -> Iterator[bytes]:
        """Decompress the next piece of the body, to at most 2 MiB at a time.

        Raises:
            ProblemError: 400, it is not of the declared encoding, has trailing data, or is longer compressed
                than decompressed.
        """
        left = memoryview(compressed)
        while left:
            if self._coding.is_at_end:
                what = f"Something follows the end of the {self._encoding} body"
                detail = f"{what}; send all of it as one {self._coding.unit}."
                raise ProblemError(HTTPStatus.BAD_REQUEST, detail)
            before = len(left)
            try:
                decompressed, left = self._coding.step(left)
            except (zlib.error, zstandard.ZstdError):
                raise _not_as_declared(self._encoding) from None
            self._check_ratio(before - len(left), len(decompressed))
            if decompressed:
                yield decompressed

    def _check_ratio(self, consumed: int, produced: int) -> None:
        self._allowance += produced + produced // _OUTPUT_BYTES_PER_OVERHEAD_BYTE - consumed
        if self._allowance < 0:
            detail = f"The {self._encoding} body gives less than it takes; send it as it is."
            raise ProblemError(HTTPStatus.BAD_REQUEST, detail)

    def check_whole(self) -> None:
        """Return if the body is complete.

        Raises:
            ProblemError: 400, it is truncated.
        """
        if not self._coding.is_at_end:
            detail = f"The {self._encoding} body breaks off before its end."
            raise ProblemError(HTTPStatus.BAD_REQUEST, detail)


def content_encoding_of(request: Request) -> str | None:
    """The content encoding of the request's body; None if it has none.

    Raises:
        ProblemError: 415, it is not supported.
    """
    if hdrs.CONTENT_ENCODING not in request.headers:
        return None
    # Several fields, like commas in one, mean several encodings.
    encoding = ", ".join(request.headers.getall(hdrs.CONTENT_ENCODING)).strip().lower()
    encoding = _ALIASES.get(encoding, encoding)
    if encoding == "identity":
        return None
    if encoding not in _CODINGS:
        detail = (
            f"Content-Encoding {encoding[:64]!r} is not known here; send {' or '.join(_CODINGS)} or none."
        )
        headers = {"Accept-Encoding": ACCEPTED}
        raise ProblemError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers=headers)
    return encoding


def max_compressed_json_bytes(max_bytes: int) -> int:
    """The limit of a compressed JSON body, from that of the decompressed one."""
    return max(max_bytes // _MIN_COMPRESSION_RATIO, min(max_bytes, _SMALL_BYTES))


def max_compressed_bytes(max_bytes: int) -> int:
    """The largest compressed body that `Decompressor` accepts for so many decompressed bytes."""
    return max_bytes + max_bytes // _OUTPUT_BYTES_PER_OVERHEAD_BYTE + _OVERHEAD_ALLOWANCE_BYTES


def check_content_length(request: Request, max_bytes: int, *, is_compressed: bool = False) -> None:
    """Return unless Content-Length is more than so many bytes; called before 100 Continue is sent.

    Raises:
        ProblemError: 413.
    """
    if (request.content_length or 0) > max_bytes:
        raise too_large(max_bytes, how="packed" if is_compressed else "unpacked")


def decompress_body(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Decompress a complete body; never holds more than ``max_bytes`` of it.

    Raises:
        ProblemError: 413 too large when decompressed; 400 not of the declared encoding, truncated, with
            trailing data, or longer compressed than decompressed.
    """
    decompressor, pieces, size = Decompressor(encoding), list[bytes](), 0
    for piece in decompressor.decompress(body):
        size += len(piece)
        if size > max_bytes:
            raise too_large(max_bytes)
        pieces.append(piece)
    decompressor.check_whole()
    return b"".join(pieces)


def window_bytes(encoding: str, beginning: bytes) -> int:
    """The memory of the decompressor's window, from the first 18 bytes of the body.

    Raises:
        ProblemError: 400, it is not of the declared encoding, or its window is too large.
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
    # Close the connection: the unread rest of this body would be parsed as the next request.
    return ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers=CLOSE)


def _zstd_decompressor() -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor(max_window_size=MAX_ZSTD_WINDOW_BYTES)


def _not_as_declared(encoding: str) -> ProblemError:
    detail = f"The body is declared as {encoding} and is not."
    if encoding == "zstd":
        detail = "The body is declared as zstd and is not, or needs a window of more than 8 MiB (RFC 9659)."
    return ProblemError(HTTPStatus.BAD_REQUEST, detail)
