from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.formats.json_arrays import PIECE_BYTES, TooMuchOverheadError, UnparsedSignal, extract_arrays
from gateway.http.bodies.json_body import parse_json
from gateway.http.problems import NotJsonError, ProblemError

_MIB = 2**20
_NUMBERS = st.integers(-(2**33), 2**33) | st.floats(allow_nan=False, allow_infinity=False)
_VALUES = _NUMBERS | st.none() | st.booleans()
_TEXTS = st.text(st.sampled_from('[]{}",:\\ 1é\n'), max_size=6)
_DOCUMENTS = st.recursive(
    _VALUES | _TEXTS | st.lists(_VALUES, max_size=6),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(_TEXTS, parts, max_size=4),
    max_leaves=12,
)
_SPLICES = st.sampled_from([*'[]{}",:\\-.e01 ', '"]', "[1,2]", "[,]", "[ ]", '\\"', "null", '"[1]"'])


def read_back(value: Any) -> Any:
    """The document with all unparsed signals parsed."""
    if isinstance(value, UnparsedSignal):
        return [
            found for part in value.parts() for found in (part if isinstance(part, list) else part.tolist())
        ]
    if isinstance(value, list):
        return list(map(read_back, value))
    return {key: read_back(part) for key, part in value.items()} if isinstance(value, dict) else value


class SearchedBody(bytes):
    """Counts how many octets are searched for each."""

    def __init__(self, _: bytes) -> None:
        self.searched: Counter[bytes] = Counter()

    def find(self, octet: Any, start: Any = 0, end: Any = None) -> int:
        found = super().find(octet, start, end)
        self.searched[octet] += (len(self) if found < 0 else found) - start
        return found


def parse_by_extracting(body: bytes) -> Any:
    found = extract_arrays(body, min_bytes=1, max_remainder_bytes=10_000, max_remainder_parts=10_000)
    return read_back(found.restore_signals(parse_json(found.remainder)))


class TestCutting:
    @given(_DOCUMENTS, st.sampled_from([None, 1]), st.booleans())
    def test_cutting_and_restoring_gives_the_document(
        self,
        document: Any,
        indent: int | None,
        escape: bool,  # noqa: FBT001
    ) -> None:
        body = json.dumps(document, indent=indent, ensure_ascii=escape).encode()

        assert parse_by_extracting(body) == parse_json(body)

    @given(_DOCUMENTS, st.data())
    def test_a_damaged_document_has_the_same_outcome_as_without_cutting(
        self, document: Any, data: st.DataObject
    ) -> None:
        body = json.dumps(document).encode()
        for _ in range(data.draw(st.integers(1, 3))):
            start = data.draw(st.integers(0, len(body)))
            body = body[:start] + data.draw(_SPLICES).encode() + body[start + data.draw(st.integers(0, 2)) :]
        try:
            expected = parse_json(body)
        except ProblemError:
            with pytest.raises(ProblemError):
                parse_by_extracting(body)
        else:
            assert parse_by_extracting(body) == expected

    def test_only_arrays_of_numbers_are_cut_out(self) -> None:
        body = (
            b'{"a": [1, 2], "[3, 4]": [[5, 6], ["[7]"]], "b": "[8]", "c": [null, 0.5], "d": [{}], "e": [1]}'
        )

        found = extract_arrays(body, min_bytes=4, max_remainder_bytes=1000, max_remainder_parts=1000)

        assert found.remainder == (
            b'{"a": [], "[3, 4]": [[], ["[7]"]], "b": "[8]", "c": [], "d": [{}], "e": [1]}'
        )
        assert {number: len(signal) for number, signal in found.signals.items()} == {0: 2, 2: 2, 4: 2}

    def test_an_array_without_an_end_is_not_cut_out(self) -> None:
        body = b'{"a": [1, 2'

        found = extract_arrays(body, min_bytes=1, max_remainder_bytes=1000, max_remainder_parts=1000)

        assert (found.remainder, found.signals) == (body, {})

    def test_a_body_is_searched_once_for_each_octet(self) -> None:
        body = SearchedBody(b'{"a": "b", "c": [%b]}' % (b'"d", ' * 1000))

        with pytest.raises(TooMuchOverheadError):
            extract_arrays(body, min_bytes=1, max_remainder_bytes=10_000, max_remainder_parts=500)

        assert max(body.searched.values()) <= len(body) + 1

    def test_a_string_is_searched_no_further_than_the_rest_may_be_long(self) -> None:
        body = SearchedBody(b'{"name": "%b"}' % (b'\\"' * 10_000))

        with pytest.raises(TooMuchOverheadError):
            extract_arrays(body, min_bytes=1, max_remainder_bytes=100, max_remainder_parts=500)

        assert body.searched[b'"'] < 200

    @pytest.mark.parametrize(
        "body",
        [
            b" " * _MIB,
            b"[" * _MIB,
            b"{}," * _MIB,
            b'"' * _MIB,
            b'"a",' * _MIB,
            b'{"name": "%s", "signal": [%s]}' % (b"a" * _MIB, b"1," * 999),
            b'{"name": "%s"}' % (b'\\"' * _MIB),
            b'{"name": "%s' % (b"\\" * _MIB),
            b'{"signal": [%s]}' % (b'"a",' * _MIB),
            b'{"signal": [%s]}%s' % (b"1," * 999, b" " * _MIB),
        ],
    )
    def test_a_body_with_too_much_overhead_is_refused(self, body: bytes) -> None:
        with pytest.raises(TooMuchOverheadError):
            extract_arrays(body, min_bytes=256, max_remainder_bytes=64 * 1024, max_remainder_parts=1000)

    def test_an_array_may_be_as_long_as_a_body(self) -> None:
        found = extract_arrays(
            b"[%b1]" % (b"1," * _MIB), min_bytes=256, max_remainder_bytes=2, max_remainder_parts=2
        )

        assert found.remainder == b"[]"
        assert len(found.restore_signals(parse_json(found.remainder))) == _MIB + 1

    def test_offsets_in_the_rest_map_to_offsets_in_the_body(self) -> None:
        body = b'{"a": [1, 2], "b": [3, 4], x}'
        found = extract_arrays(body, min_bytes=1, max_remainder_bytes=1000, max_remainder_parts=1000)
        with pytest.raises(NotJsonError) as caught:
            parse_json(found.remainder)

        for octet in (b"[", b"]", b"x"):
            assert found.original_offset(found.remainder.index(octet)) == body.index(octet)
        assert found.original_offset(found.remainder.index(b'"b"')) == body.index(b'"b"')
        assert found.original_offset(caught.value.offset) == body.index(b"x")


def unparsed(text: bytes) -> UnparsedSignal:
    """The array of this text, with more behind it."""
    return UnparsedSignal(b"[%b], 7, 8, 9" % text, 1, 1 + len(text))


class TestReading:
    @pytest.mark.parametrize(
        ("text", "length"), [(b"", 0), (b" \n", 0), (b"1", 1), (b" 1 ", 1), (b"1,2", 2), (b",", 2)]
    )
    def test_its_length_is_known_before_it_is_parsed(
        self, text: bytes, length: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr("gateway.formats.json_arrays.Parser")

        assert len(unparsed(text)) == length

    @given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=20))
    def test_it_is_parsed_in_pieces_without_loss(self, samples: list[int]) -> None:
        parts = list(unparsed(json.dumps(samples, separators=(",", ":"))[1:-1].encode()).parts(12))

        assert all(isinstance(part, np.ndarray) for part in parts)
        assert [sample for part in parts for sample in list(part)] == samples

    def test_no_parser_gets_more_than_a_piece(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sizes: list[int] = []
        loads = orjson.loads

        def counted(piece: bytes) -> Any:
            sizes.append(len(piece))
            return loads(piece)

        monkeypatch.setattr("orjson.loads", counted)
        fractions = unparsed(b"0.5," * _MIB + b"0.5")

        values = sum(map(len, fractions.parts()))

        assert values == _MIB + 1
        assert max(sizes) <= PIECE_BYTES + 2
        assert len(sizes) == -(-(4 * _MIB + 3) // PIECE_BYTES)  # and no more of them than that

    @pytest.mark.parametrize(
        ("text", "offset"),
        [(b"1,,2", 3), (b"1,", 3), (b",1", 1), (b"1 2", 3), (b"01", 2), (b"nul", 1), (b"1:2", 2)],
    )
    def test_invalid_json_is_reported_with_its_offset(self, text: bytes, offset: int) -> None:
        with pytest.raises(NotJsonError, match=r"The body is not JSON: .*: char ") as caught:
            list(unparsed(text).parts())

        assert abs(caught.value.offset - offset) <= 1

    @pytest.mark.parametrize(
        "text",
        [
            b"1,2,,3",
            b"1,2,3,4,",
            b"1,      ,2",
            b"1,     ",
            b"1      12",
            b"1      1,2",
            b"      1 1",
            b"    \v  1",
        ],
    )
    def test_invalid_json_is_found_between_pieces_too(self, text: bytes) -> None:
        with pytest.raises(NotJsonError):
            list(unparsed(text).parts(4))

    @pytest.mark.parametrize("around", [b"%b", b" %b", b"%b ", b" %b , 1"])
    def test_an_overlong_number_is_a_413_and_not_parsed(
        self, around: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr("gateway.formats.json_arrays.Parser")

        with pytest.raises(ProblemError, match="may have 131072 bytes; one has more, at char") as caught:
            list(unparsed(around % (b"1" * _MIB)).parts())

        assert caught.value.status == 413

    def test_a_number_may_be_as_long_as_a_piece(self) -> None:
        number = b"0.".ljust(PIECE_BYTES, b"0")

        assert list(unparsed(number + b" , 1").parts()) == [[0.0], [1]]
        with pytest.raises(ProblemError, match="one has more, at char 1"):
            list(unparsed(number + b"0 , 1").parts())

    def test_white_space_is_skipped_a_piece_at_a_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sizes: list[int] = []

        class Counting:
            def match(self, body: bytes, start: int, end: int) -> Any:
                sizes.append(end - start)
                return re.compile(rb"[ \t\n\r]+").match(body, start, end)

        monkeypatch.setattr("gateway.formats.json_arrays._WHITE_SPACE", Counting())

        assert list(unparsed(b" " * _MIB).parts()) == []
        assert max(sizes) <= PIECE_BYTES

    @pytest.mark.parametrize("space", [b" ", b"\n", b" \t\r\n"])
    @pytest.mark.parametrize(
        ("text", "values"),
        [(b"~1", [1]), (b"1~", [1]), (b"~1~,~2~,3,4~", [1, 2, 3, 4]), (b"~0.5~", [0.5]), (b"~", [])],
    )
    def test_white_space_may_be_as_long_as_a_body(
        self, space: bytes, text: bytes, values: list[float]
    ) -> None:
        signal = unparsed(text.replace(b"~", space * 300_000))

        parts = list(signal.parts())

        assert [value for part in parts for value in part] == values
        assert len(signal) == len(values)
