from __future__ import annotations

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.formats.json_arrays import PIECE_BYTES, TooMuchOverheadError, UnparsedSignal, cut_arrays
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


def parse_by_cutting(body: bytes) -> Any:
    found = cut_arrays(body, min_bytes=1, max_rest_bytes=10_000, max_rest_parts=10_000)
    return read_back(found.restore(parse_json(found.rest)))


class TestCutting:
    @given(_DOCUMENTS, st.sampled_from([None, 1]), st.booleans())
    def test_cutting_and_restoring_gives_the_document(
        self,
        document: Any,
        indent: int | None,
        escape: bool,  # noqa: FBT001
    ) -> None:
        body = json.dumps(document, indent=indent, ensure_ascii=escape).encode()

        assert parse_by_cutting(body) == parse_json(body)

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
                parse_by_cutting(body)
        else:
            assert parse_by_cutting(body) == expected

    def test_only_arrays_of_numbers_are_cut_out(self) -> None:
        body = b'{"a": [1, 2], "[3, 4]": [[5, 6], ["[7]"]], "b": "[8, 9]", "c": [null, 0.5], "d": [{}]}'

        found = cut_arrays(body, min_bytes=4, max_rest_bytes=1000, max_rest_parts=1000)

        assert found.rest == b'{"a": [], "[3, 4]": [[], ["[7]"]], "b": "[8, 9]", "c": [], "d": [{}]}'
        assert {number: len(signal) for number, signal in found.signals.items()} == {0: 2, 2: 2, 4: 2}

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
            cut_arrays(body, min_bytes=256, max_rest_bytes=64 * 1024, max_rest_parts=1000)

    def test_an_array_may_be_as_long_as_a_body(self) -> None:
        found = cut_arrays(b"[%b1]" % (b"1," * _MIB), min_bytes=256, max_rest_bytes=2, max_rest_parts=2)

        assert found.rest == b"[]"
        assert len(found.restore(parse_json(found.rest))) == _MIB + 1

    def test_offsets_in_the_rest_map_to_offsets_in_the_body(self) -> None:
        body = b'{"a": [1, 2], "b": [3, 4], x}'
        found = cut_arrays(body, min_bytes=1, max_rest_bytes=1000, max_rest_parts=1000)
        with pytest.raises(NotJsonError) as caught:
            parse_json(found.rest)

        assert found.offset(found.rest.index(b"x")) == body.index(b"x")
        assert found.offset(found.rest.index(b'"b"')) == body.index(b'"b"')
        assert found.offset(caught.value.offset) == body.index(b"x")


def unparsed(text: bytes) -> UnparsedSignal:
    return UnparsedSignal(b"[%b]" % text, 1, 1 + len(text))


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

    @pytest.mark.parametrize(
        ("text", "offset"),
        [(b"1,,2", 3), (b"1,", 3), (b",1", 1), (b"1 2", 3), (b"01", 2), (b"nul", 1), (b"1:2", 2)],
    )
    def test_invalid_json_is_reported_with_its_offset(self, text: bytes, offset: int) -> None:
        with pytest.raises(NotJsonError, match=r"The body is not JSON: .*: char ") as caught:
            list(unparsed(text).parts())

        assert abs(caught.value.offset - offset) <= 1

    @pytest.mark.parametrize(
        "text", [b"1,2,,3", b"1,2,3,4,", b"1,      ,2", b"1,     ", b"1      1,2", b"      1 1", b"    \v  1"]
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
