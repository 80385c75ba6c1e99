"""Long arrays of numbers in JSON: extracted from a body unparsed, and then parsed a piece at a time.

A parser holds the GIL until it is done: a body of 16 MiB would block the event loop for 0.1 s, and for 0.5 s
if each number becomes an object. A piece takes one or two milliseconds.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import orjson
from simdjson import Parser

from gateway.http.problems import NotJsonError, ProblemError
from shared.domain.ecg import to_smallest_dtype

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from shared.domain.ecg import Samples

# Shorter arrays are parsed with the rest of the body.
MIN_EXTRACTED_BYTES: Final = 256
# 32,768 fractions become as many objects in 2 ms.
PIECE_BYTES: Final = 128 * 1024
# Each number that is no integer has one of these; `true` and `false` have one too. simdjson takes up to 12 us
# for such a number, as near the smallest of 64 bits (2.2250738585072011999e-308); orjson 0.1 us.
FRACTION_SIGNS: Final = (b".", b"e", b"E")

_COUNTED_AT_ONCE: Final = 2**20
_COMMA: Final = ord(",")
_WHITE_SPACE: Final = re.compile(rb"[ \t\n\r]+")
_VALUE: Final = re.compile(rb"[^ \t\n\r,]+")
# Raised by simdjson and NumPy for a value that is no integer of 32 bits.
_FALL_BACK_ERRORS: Final = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)


class UnparsedSignal:
    """An array without strings, objects and arrays, not parsed yet: numbers, if it is JSON at all.

    Its length is the number of commas plus one, and known before parsing.
    """

    __slots__ = ("_body", "_end", "_length", "_start")

    JSON_TYPE: Final = "an array"

    def __init__(self, body: bytes, start: int, end: int) -> None:
        """The array in a body whose brackets enclose ``start`` to ``end``."""
        self._body = body
        self._start = start
        self._end = end
        commas = _count_commas(body, start, end)
        is_empty = _skip_white_space(body, start, end) == end
        self._length = 0 if is_empty else commas + 1

    def __len__(self) -> int:
        return self._length

    def parts(self, piece_bytes: int = PIECE_BYTES) -> Iterator[Samples | list[object]]:
        """Parse it piece by piece: to samples, or to JSON values for a piece with a value that is no sample.

        Raises:
            NotJsonError: It is no JSON; with the offset of the error.
            ProblemError: 413, it has a number of more than ``piece_bytes``.
        """
        for start, end in self._pieces(piece_bytes):
            yield _parse_piece(b"[%b]" % self._body[start:end], start - 1)

    def _pieces(self, piece_bytes: int) -> Iterator[tuple[int, int]]:
        """The ranges of its pieces, cut at commas and around long white space."""
        start = self._start
        if not self._length:
            return
        while self._end - start > piece_bytes:
            comma = end = self._body.rfind(b",", start, start + piece_bytes)
            if comma < 0:
                start, end, comma = self._next_value(start, piece_bytes)
            yield start, end
            if comma == self._end:
                return
            start = comma + 1
        yield start, self._end

    def _next_value(self, start: int, max_bytes: int) -> tuple[int, int, int]:
        """The start and end of the value before the next comma, and the offset of that comma or the end."""
        start = _skip_white_space(self._body, start, self._end)
        value = _VALUE.match(self._body, start, min(start + max_bytes + 1, self._end))
        end = value.end() if value else start
        if end - start > max_bytes:
            detail = f"A number in a signal may have {max_bytes} bytes; one has more, at char {start}."
            raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
        comma = _skip_white_space(self._body, end, self._end)
        if comma < self._end and self._body[comma] != _COMMA:
            raise NotJsonError("two values without a comma between them", comma)
        return start, end, comma


class BodyWithoutArrays(NamedTuple):
    """A body without its long arrays of numbers.

    Attributes:
        remainder: The body with an empty array in the place of each.
        signals: The extracted arrays, by their index among all arrays of the remainder.
        gaps: For each, the offset of its bracket in the remainder, and how many bytes are missing behind it.
    """

    remainder: bytes
    signals: Mapping[int, UnparsedSignal]
    gaps: tuple[tuple[int, int], ...] = ()

    def original_offset(self, offset: int) -> int:
        """The offset in the whole body for an offset in the remainder."""
        return offset + sum(size for bracket, size in self.gaps if bracket < offset)

    def restore_signals(self, document: Any) -> Any:
        """Put the signals back into the parsed remainder, which is changed."""
        top, number = [document], -1
        inner = [_slots(top)]
        while inner:
            container, key = next(inner[-1], (None, None))
            if container is None:
                inner.pop()
                continue
            value = container[key]
            if isinstance(value, list):
                number += 1
            if isinstance(value, list) and number in self.signals:
                container[key] = self.signals[number]
            elif isinstance(value, list | dict):
                inner.append(_slots(value))
        return top[0]


class TooMuchOverheadError(Exception):
    """A body has more besides its signals than any ECG needs."""


def extract_arrays(
    body: bytes, *, min_bytes: int, max_remainder_bytes: int, max_remainder_parts: int
) -> BodyWithoutArrays:
    """Extract arrays of numbers of ``min_bytes`` or more from a body, which may be invalid JSON.

    It searches brackets and quotation marks, at 10 GB/s, and takes 2 us for each string and array.

    Raises:
        TooMuchOverheadError: More than ``max_remainder_bytes`` would be left, or more strings and arrays than
            ``max_remainder_parts``.
    """
    find = _Finder(body).find
    remainder: list[bytes] = []
    signals: dict[int, UnparsedSignal] = {}
    gaps: list[tuple[int, int]] = []
    size, kept_from, offset, number = 0, 0, 0, -1
    for _ in range(max_remainder_parts + 1):  # the last round finds the end
        bracket = find(b"[", offset)
        quote = find(b'"', offset)
        if size + min(bracket, quote) - kept_from > max_remainder_bytes:
            raise TooMuchOverheadError
        if quote < bracket:
            offset = _end_of_string(body, quote, max_remainder_bytes)
            continue
        if bracket == len(body):
            remainder.append(body[kept_from:])
            return BodyWithoutArrays(b"".join(remainder) if signals else body, signals, tuple(gaps))
        number += 1
        offset = bracket + 1
        end = find(b"]", offset)
        if (
            end - offset >= min_bytes
            and min(quote, find(b"[", offset), find(b"{", offset), len(body) - 1) >= end
        ):
            remainder.append(body[kept_from:offset])
            size += offset - kept_from
            signals[number] = UnparsedSignal(body, offset, end)
            gaps.append((size - 1, end - offset))
            kept_from = offset = end
    raise TooMuchOverheadError


class _Finder:
    """Finds the next occurrence of an octet, and caches it until it is passed."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._next: dict[bytes, int] = {}

    def find(self, octet: bytes, offset: int) -> int:
        """The first occurrence from an offset on, or the body's end. Offsets must not decrease."""
        found = self._next.get(octet, -1)
        if found < offset:
            found = self._body.find(octet, offset)
            found = self._next[octet] = len(self._body) if found < 0 else found
        return found


def _end_of_string(body: bytes, quote: int, max_bytes: int) -> int:
    """The offset after the closing quotation mark: the first with an even number of backslashes before it.

    It is the body's end if there is none, or the string is longer than ``max_bytes``.
    """
    start = quote + 1
    while True:
        end = body.find(b'"', start)
        if end < 0 or end - quote > max_bytes:
            return len(body)
        text = body[start:end]
        if (len(text) - len(text.rstrip(b"\\"))) % 2 == 0:
            return end + 1
        start = end + 1


def _slots(container: list[Any] | dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
    keys = container if isinstance(container, dict) else range(len(container))
    return iter([(container, key) for key in keys])


def _skip_white_space(body: bytes, start: int, end: int) -> int:
    """The offset of the first octet that is no white space, or the end; other threads run between pieces."""
    while start < end:
        white = _WHITE_SPACE.match(body, start, min(start + PIECE_BYTES, end))
        if not white:
            return start
        start = white.end()
    return end


def _count_commas(body: bytes, start: int, end: int) -> int:
    octets = np.frombuffer(body, np.uint8)[start:end]
    pieces = range(0, len(octets), _COUNTED_AT_ONCE)
    return sum(int(np.count_nonzero(octets[first : first + _COUNTED_AT_ONCE] == _COMMA)) for first in pieces)


def _parse_piece(piece: bytes, offset: int) -> Samples | list[object]:
    if any(sign in piece for sign in FRACTION_SIGNS):  # samples are integers
        return _parse_values(piece, offset)
    try:
        signal: Any = Parser().parse(piece)
        samples = to_smallest_dtype(np.frombuffer(signal.as_buffer(of_type="i"), np.int64))
    except _FALL_BACK_ERRORS:
        return _parse_values(piece, offset)
    if not samples.size:
        raise NotJsonError("nothing between two commas", offset)
    return samples


def _parse_values(piece: bytes, offset: int) -> list[object]:
    try:
        values: list[object] = orjson.loads(piece)
    except orjson.JSONDecodeError as error:
        raise NotJsonError(error.msg, offset + error.pos) from None
    return values
