from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.http.bodies.json_body import parse_json
from gateway.http.problems import ProblemError

# Few keys, so that they often repeat; and some that escapes can hide.
_KEYS = st.sampled_from(["a", "b", "id", "\\", '"', "é", "\n", "", "😀"]) | st.text(max_size=3)
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)


class Pairs(list[tuple[str, Any]]):
    """An object whose keys may repeat."""


_DOCUMENTS = st.recursive(
    _LEAVES,
    lambda parts: st.lists(parts, max_size=4) | st.lists(st.tuples(_KEYS, parts), max_size=4).map(Pairs),
    max_leaves=12,
)


def json_text(value: Any, *, escape: bool) -> str:
    """A JSON text with every repetition of a key, which no library would write."""
    if isinstance(value, Pairs):
        members = [
            f"{json_text(key, escape=escape)}: {json_text(part, escape=escape)}" for key, part in value
        ]
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(json_text(part, escape=escape) for part in value) + "]"
    return json.dumps(value, ensure_ascii=escape)


def has_repetition(value: Any) -> bool:
    if isinstance(value, Pairs):
        keys = [key for key, _ in value]
        return len(set(keys)) < len(keys) or any(has_repetition(part) for _, part in value)
    return isinstance(value, list) and any(map(has_repetition, value))


def refusal(body: bytes) -> str:
    with pytest.raises(ProblemError) as caught:
        parse_json(body)
    assert caught.value.status is HTTPStatus.BAD_REQUEST
    return caught.value.detail


@given(_DOCUMENTS, st.booleans())
def test_exactly_the_documents_without_a_repeated_key_are_accepted(document: Any, escape: bool) -> None:  # noqa: FBT001
    text = json_text(document, escape=escape)

    if has_repetition(document):
        assert "stands twice in one object" in refusal(text.encode())
    else:
        assert parse_json(text.encode()) == json.loads(text)


def whole_or_float(digits: str) -> int | float:
    """An integer as the parser returns it: past 64 bits as a float."""
    value = int(digits)
    return value if -(2**63) <= value < 2**64 else float(value)


@given(st.text() | st.text(st.sampled_from('{}[]",:01-+.eE\\unltrfasu \n')))
@example("20000000000000000001")
def test_accepted_json_equals_what_the_standard_library_parses(text: str) -> None:
    body = text.encode()
    try:
        found = parse_json(body)
    except ProblemError:
        return

    assert found == json.loads(body, parse_int=whole_or_float)


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"a": 1, "a": 1}', "a"),
        (b'{"a": 1, "\\u0061": 1}', "a"),
        (b'{"\\"": 1, "\\u0022": 1}', '"'),
        (b'{"/": 1, "\\/": 1}', "/"),
        (b'[[{"x": {"a": 1, "b": 2, "a": 3}}]]', "a"),
        (b'{"a": {"b": 1}, "a": {}}', "a"),
    ],
)
def test_a_repeated_key_is_named(body: bytes, key: str) -> None:
    assert refusal(body) == f"The key {key!r} stands twice in one object."


def test_a_long_repeated_key_is_truncated() -> None:
    assert len(refusal(b'{"%s": 1, "%s": 1}' % (b"x" * 9999, b"x" * 9999))) < 120


@pytest.mark.parametrize("body", [b'{"a": {"a": 1}}', b'[{"a": 1}, {"a": 1}]', b'{"a": "a", "A": "\\u0061"}'])
def test_a_key_may_occur_in_several_objects(body: bytes) -> None:
    assert parse_json(body) == json.loads(body)


@pytest.mark.parametrize("body", [b"", b" \r\n\t "])
def test_an_empty_body_has_a_message_of_its_own(body: bytes) -> None:
    assert refusal(body) == "The body is empty; expected JSON."


@pytest.mark.parametrize(
    "body",
    [
        b"NaN",
        b"[NaN]",
        b"Infinity",
        b"-Infinity",
        b"01",
        b"1.",
        b"'a'",
        b"{a: 1}",
        b"[1,]",
        b'{"a": 1,}',
        b"[1] [2]",
        b"// comment\n1",
        b'"\n"',
        b'"\xff"',
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b'"\xed\xa0\x80"',
    ],
)
def test_invalid_json_is_refused_with_the_position_of_the_error(body: bytes) -> None:
    detail = refusal(body)

    assert detail.startswith("The body is not JSON: ")
    assert "line" in detail


@pytest.mark.parametrize(
    "body",
    [
        b"1e999",
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b"[" * 3000,
        b"[" * 2000 + b"]" * 2000,
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
        b"1" * 5000,
    ],
)
def test_json_past_the_limits_of_a_parser_is_not_called_invalid(body: bytes) -> None:
    detail = refusal(body)

    assert detail.startswith("The body can't be read: ")
    assert "line" in detail


def test_a_number_of_thousands_of_digits_passes_the_slow_parser() -> None:
    body = b'{"\\u0061": 0.%s, "b": -%s.5}' % (b"1" * 5000, b"1" * 200)

    assert parse_json(body) == json.loads(body)


def test_deep_nesting_with_an_escape_is_accepted_or_a_400() -> None:
    body = b'["\\u0061",' + b"[" * 900 + b"]" * 900 + b"]"

    try:
        parse_json(body)
    except ProblemError as error:
        assert error.status is HTTPStatus.BAD_REQUEST  # noqa: PT017


def test_nul_and_integers_of_64_bits_are_accepted() -> None:
    body = b'["\\u0000", 18446744073709551615, -9223372036854775808]'

    assert parse_json(body) == ["\0", 2**64 - 1, -(2**63)]


@pytest.mark.parametrize("integer", [2**64, -(2**63) - 1, 10**30])
def test_an_integer_past_64_bits_becomes_a_float(integer: int) -> None:
    assert isinstance(parse_json(str(integer).encode()), float)
