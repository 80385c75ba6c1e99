"""Long arrays of numbers as JSON wrote them: cut out of a body unparsed, and read a piece at a time.

A parser holds the interpreter's lock until it is done: for a body of 16 MiB the event loop would wait for
0.1 s, and for 0.5 s where each number becomes an object. A piece takes one or two milliseconds.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import orjson
from simdjson import Parser

from gateway.http.problems import NotJsonError, ProblemError
from shared.domain.ecg import narrowed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from shared.domain.ecg import Samples

# A shorter array is parsed with what is around it.
CUT_FROM_BYTES: Final = 256
# 32,768 fractions become as many objects in 2 ms.
PIECE_BYTES: Final = 128 * 1024
# Of these each number that is no integer has one, `true` and `false` too. simdjson takes up to 12 us for such
# a number, as one near the smallest of 64 bits (2.2250738585072011999e-308); orjson 0.1 us.
FRACTION_SIGNS: Final = (b".", b"e", b"E")

_COUNTED_AT_ONCE: Final = 2**20
_COMMA: Final = ord(",")
_WHITE_SPACE: Final = re.compile(rb"[ \t\n\r]+")
_VALUE: Final = re.compile(rb"[^ \t\n\r,]+")
# What simdjson and NumPy raise where a value is no integer of 32 bits.
_OTHERWISE: Final = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)


class WrittenSignal:
    """An array that holds no text, object or array: nothing but numbers, if it is JSON at all.

    Its length is known before any of it is read; of one that is no JSON it says little.
    """

    __slots__ = ("_body", "_end", "_length", "_start")

    JSON_TYPE: Final = "an array"

    def __init__(self, body: bytes | bytearray, start: int, end: int) -> None:
        """What stands in a body from ``start`` to ``end``, between two brackets."""
        self._body = body
        self._start = start
        self._end = end
        commas = _count_commas(body, start, end)
        is_empty = not commas and _behind_white_space(body, start, end) == end
        self._length = 0 if is_empty else commas + 1

    def __len__(self) -> int:
        return self._length

    def parts(self, piece_bytes: int = PIECE_BYTES) -> Iterator[Samples | list[object]]:
        """What it holds, in order: as samples, or as JSON values where one of them is no sample.

        Raises:
            NotJsonError: It is no JSON, and where.
            ProblemError: 413, it holds a number of more than ``piece_bytes``.
        """
        for start, end in self._pieces(piece_bytes):
            yield _values(b"[%b]" % bytes(self._body[start:end]), start - 1)

    def _pieces(self, piece_bytes: int) -> Iterator[tuple[int, int]]:
        """Where it is cut: at commas, and around long white space."""
        start = self._start
        if not self._length:
            return
        while self._end - start > piece_bytes:
            comma = end = self._body.rfind(b",", start, start + piece_bytes)
            if comma < 0:
                start, end, comma = self._value(start, piece_bytes)
            yield start, end
            if comma == self._end:
                return
            start = comma + 1
        yield start, self._end

    def _value(self, start: int, max_bytes: int) -> tuple[int, int, int]:
        """Where the one value before the next comma begins and ends, and where that comma is, or the end."""
        start = _behind_white_space(self._body, start, self._end)
        value = _VALUE.match(self._body, start, min(start + max_bytes + 1, self._end))
        end = value.end() if value else start
        if end - start > max_bytes:
            detail = f"A number in a signal may have {max_bytes} bytes; one has more, at char {start}."
            raise ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
        comma = _behind_white_space(self._body, end, self._end)
        if comma < self._end and self._body[comma] != _COMMA:
            raise NotJsonError("two values without a comma between them", comma)
        return start, end, comma


class CutBody(NamedTuple):
    """A body without its long arrays of numbers.

    Attributes:
        rest: What is left, with an empty array in the place of each.
        signals: Those that were cut out, each by its number among all arrays of the rest, from 0.
        cuts: Of each in turn, where its bracket stands in the rest, and how many bytes are missing behind it.
    """

    rest: bytes | bytearray
    signals: Mapping[int, WrittenSignal]
    cuts: tuple[tuple[int, int], ...] = ()

    def offset(self, place: int) -> int:
        """Where in the body it is what stands at a place of the rest."""
        return place + sum(size for bracket, size in self.cuts if bracket < place)

    def whole(self, document: Any) -> Any:
        """What the rest became in parsing, with the signals where they were. It is changed."""
        top, number = [document], -1
        inner = [_places(top)]
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
                inner.append(_places(value))
        return top[0]


class TooMuchBesideError(Exception):
    """A body has more beside its signals than any ECG needs."""


def cut(body: bytes | bytearray, *, from_bytes: int, max_rest_bytes: int, max_rest_parts: int) -> CutBody:
    """Cut arrays of numbers of so many bytes or more out of a body, which may be anything.

    It looks for brackets and quotation marks, at 10 GB/s, and takes 2 us for each text and array it meets.

    Raises:
        TooMuchBesideError: More than ``max_rest_bytes`` would be left, or more texts and arrays than
            ``max_rest_parts``.
    """
    find = _Finder(body).find
    rest: list[bytes | bytearray] = []
    signals: dict[int, WrittenSignal] = {}
    cuts: list[tuple[int, int]] = []
    size, kept_from, place, number = 0, 0, 0, -1
    for _ in range(max_rest_parts):
        bracket = find(b"[", place)
        quote = find(b'"', place)
        if size + min(bracket, quote) - kept_from > max_rest_bytes:
            raise TooMuchBesideError
        if quote < bracket:
            place = _end_of_text(body, quote, max_rest_bytes)
            continue
        if bracket == len(body):
            rest.append(body[kept_from:])
            return CutBody(b"".join(rest) if signals else body, signals, tuple(cuts))
        number += 1
        place = bracket + 1
        end = find(b"]", place)
        if (
            end - place >= from_bytes
            and min(quote, find(b"[", place), find(b"{", place), len(body) - 1) >= end
        ):
            rest.append(body[kept_from:place])
            size += place - kept_from
            signals[number] = WrittenSignal(body, place, end)
            cuts.append((size - 1, end - place))
            kept_from = place = end
    raise TooMuchBesideError


class _Finder:
    """Finds the next of an octet, and looks for it no second time until that is passed."""

    def __init__(self, body: bytes | bytearray) -> None:
        self._body = body
        self._next: dict[bytes, int] = {}

    def find(self, octet: bytes, place: int) -> int:
        """Where it stands first from a place on; the body's end where it does not. Places never go back."""
        found = self._next.get(octet, -1)
        if found < place:
            found = self._body.find(octet, place)
            found = self._next[octet] = len(self._body) if found < 0 else found
        return found


def _end_of_text(body: bytes | bytearray, quote: int, max_bytes: int) -> int:
    """Behind the mark that ends a text; a mark with an odd number of backslashes before it does not."""
    start = quote + 1
    while True:
        end = body.find(b'"', start)
        if end < 0 or end - quote > max_bytes:
            return len(body) if end < 0 else end
        text = body[start:end]
        if (len(text) - len(text.rstrip(b"\\"))) % 2 == 0:
            return end + 1
        start = end + 1


def _places(container: list[Any] | dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
    keys = container if isinstance(container, dict) else range(len(container))
    return iter([(container, key) for key in keys])


def _behind_white_space(body: bytes | bytearray, start: int, end: int) -> int:
    """Where the first octet is that is none, or the end. Others have their turn after each piece."""
    while start < end:
        white = _WHITE_SPACE.match(body, start, min(start + PIECE_BYTES, end))
        if not white:
            return start
        start = white.end()
    return end


def _count_commas(body: bytes | bytearray, start: int, end: int) -> int:
    octets = np.frombuffer(body, np.uint8)[start:end]
    pieces = range(0, len(octets), _COUNTED_AT_ONCE)
    return sum(int(np.count_nonzero(octets[first : first + _COUNTED_AT_ONCE] == _COMMA)) for first in pieces)


def _values(piece: bytes, place: int) -> Samples | list[object]:
    if any(sign in piece for sign in FRACTION_SIGNS):  # no sample is written with one
        return _listed(piece, place)
    try:
        signal: Any = Parser().parse(piece)
        samples = narrowed(np.frombuffer(signal.as_buffer(of_type="i"), np.int64))
    except _OTHERWISE:
        return _listed(piece, place)
    if not samples.size:
        raise NotJsonError("nothing between two commas", place)
    return samples


def _listed(piece: bytes, place: int) -> list[object]:
    try:
        values: list[object] = orjson.loads(piece)
    except orjson.JSONDecodeError as error:
        raise NotJsonError(error.msg, place + error.pos) from None
    return values
