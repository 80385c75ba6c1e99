from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simdjson import Parser

from gateway.formats.json_arrays import MIN_EXTRACTED_BYTES, PIECE_BYTES
from gateway.formats.json_fast_path import read_ecg_fast
from gateway.formats.json_reader import (
    JsonReader,
    parse_into_arrays,
    parse_with_unparsed_signals,
    read_ecg_json,
)
from gateway.formats.models import EcgBody, LeadBody, read_ecg
from gateway.http.bodies.json_body import MAX_CONTAINERS, parse_json
from gateway.http.problems import ProblemError, problem_document
from gateway.http.validation import MAX_FIELDS
from shared.runtime.settings import GatewayOnlySettings, SubmissionLimits
from tests.support.builders import an_ecg_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.domain.ecg import Ecg

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_LIMITS = SubmissionLimits(max_leads=4, max_lead_samples=8, max_ecg_samples=20)
_RECORDINGS = sorted((Path(__file__).parents[4] / "examples" / "data").glob("*.json"))
# Bodies padded to this size with white space are read by simdjson.
_LARGE = 1024


class EcgValues(NamedTuple):
    """All values of an ECG, comparable by ``==``."""

    fields: tuple[Any, ...]
    leads: list[tuple[Any, ...]]


def values_of(ecg: Ecg) -> EcgValues:
    leads = [
        (
            lead.header,
            lead.signal.dtype,
            lead.signal.tolist(),
            type(lead.header.adc_gain),
            type(lead.header.sampling_rate_hz),
        )
        for lead in ecg.leads
    ]
    return EcgValues((ecg.header, type(ecg.header.sampling_rate_hz)), leads)


def outcome(read: Callable[[], Ecg]) -> EcgValues | dict[str, object]:
    """The ECG of a body, or the problem that refuses it."""
    try:
        return values_of(read())
    except ProblemError as problem:
        return problem_document(problem)


def outcome_as_large(body: bytes, limits: SubmissionLimits = _LIMITS) -> EcgValues | dict[str, object]:
    return outcome(lambda: read_ecg_json(body.ljust(_LARGE), limits=limits, now=_NOW))


def outcome_as_small(body: bytes, limits: SubmissionLimits = _LIMITS) -> EcgValues | dict[str, object]:
    """The outcome by the models alone; checks that the reader has the same for the body as it is."""

    def outcome_by_models(body: bytes) -> EcgValues | dict[str, object]:
        return outcome(lambda: read_ecg(parse_json(body), limits=limits, now=_NOW))

    assert outcome(lambda: read_ecg_json(body, limits=limits, now=_NOW)) == outcome_by_models(body)
    return outcome_by_models(body.ljust(_LARGE))


def with_signal(signal: str) -> bytes:
    """A body of one lead with this JSON text as its signal."""
    return (
        json.dumps(an_ecg_body(leads=[{"name": "I", "signal": "here"}]))
        .encode()
        .replace(b'"here"', signal.encode())
    )


class Pairs(list[tuple[str, Any]]):
    """An object whose keys may repeat."""


def json_text(value: Any, separators: tuple[str, str], *, escape: bool) -> str:
    """A JSON text with every repetition of a key, which no library would write."""

    def part(value: Any) -> str:
        return json_text(value, separators, escape=escape)

    comma, colon = separators
    if isinstance(value, Pairs):
        return "{" + comma.join(part(key) + colon + part(member) for key, member in value) + "}"
    if isinstance(value, list):
        return "[" + comma.join(map(part, value)) + "]"
    return json.dumps(value, ensure_ascii=escape)


_INTEGERS = st.integers(-(2**15), 2**15 - 1) | st.integers(-(2**31), 2**31 - 1)
_NAMES = st.sampled_from(["I", "II", "aVR", "V1", "ECG III", "[1]", "{}", '"', "\\", "µV", "😀"])
_GAINS = st.floats(1e-300, 1e300) | st.integers(1, 2**64 - 1)
_RATES = st.integers(1, 10_000) | st.floats(1, 10_000)
_SIGNALS = st.lists(_INTEGERS, min_size=1, max_size=5)
_LEADS = st.fixed_dictionaries(
    {"name": _NAMES, "signal": _SIGNALS},
    optional={
        "baseline": st.none() | _INTEGERS,
        "adc_gain": st.none() | _GAINS,
        "num_samples": st.none(),
        "sampling_rate_hz": st.none() | _RATES,
        "missing_value": st.none() | _INTEGERS,
    },
)
_ECGS = st.fixed_dictionaries(
    {
        "id": st.from_regex(r"[A-Za-z0-9_:-]{1,8}", fullmatch=True) | st.integers(-(2**63), 2**64 - 1),
        "date": st.sampled_from(["2023-07-30", "2023-07-30T10:00:00Z", "2023-07-30T10:00:00.5+02:00"]),
        "leads": st.lists(_LEADS, min_size=1, max_size=4, unique_by=lambda lead: str(lead["name"])),
    },
    optional={
        "sampling_rate_hz": st.none() | _RATES,
        "unit": st.sampled_from([None, "uV", "mV"]),
    },
)
_SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\r\n\t", " : ")])

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
)
_KEYS = st.sampled_from([*LeadBody.model_fields, *EcgBody.model_fields, "id\0", "Name"])
_ANYTHING = st.recursive(
    _LEAVES,
    lambda parts: st.lists(parts, max_size=3) | st.lists(st.tuples(_KEYS, parts), max_size=3).map(Pairs),
    max_leaves=6,
)

# What turns valid JSON into something that parsers disagree about, or that is no ECG.
_TOKENS = rb"""
[ ] { } , : " \ - . e 0 1 [1] [] {} -0 00 1e3 1.0 NaN Infinity null true // \u0000 \ud800 \udc00 \u0069
9223372036854775808 18446744073709551616 "id":1, "name":"x", "signal":[1], "leads":[], "Id":1,
"""
_OCTETS = [b" ", b"\0", b"\f", b"\xff", b"\xc2\xa0", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"1" * 30]
_SPLICES = st.sampled_from([*_TOKENS.split(), *_OCTETS])


def body_of(
    ecg: dict[str, Any], separators: tuple[str, str] = (", ", ": "), *, escape: bool = False
) -> bytes:
    def pairs(value: Any) -> Any:
        if isinstance(value, dict):
            return Pairs((key, pairs(member)) for key, member in value.items())
        return [pairs(member) for member in value] if isinstance(value, list) else value

    return json_text(pairs(ecg), separators, escape=escape).encode()


class TestValidBodies:
    @given(_ECGS, _SEPARATORS, st.booleans())
    def test_a_large_body_gives_the_same_ecg_as_a_small_one(
        self,
        ecg: dict[str, Any],
        separators: tuple[str, str],
        escape: bool,  # noqa: FBT001
    ) -> None:
        body = body_of(ecg, separators, escape=escape)

        found = outcome_as_large(body)

        assert isinstance(found, EcgValues)
        assert found == outcome_as_small(body)

    @given(_ECGS, _SEPARATORS)
    def test_a_regular_large_body_is_parsed_once(
        self, ecg: dict[str, Any], separators: tuple[str, str]
    ) -> None:
        ecg["leads"] = [{**lead, "name": str(index)} for index, lead in enumerate(ecg["leads"])]

        document = parse_into_arrays(body_of(ecg, separators), _LIMITS)

        signals = [lead["signal"] for lead in document["leads"]]
        assert all(isinstance(signal, np.ndarray) for signal in signals)
        assert [signal.tolist() for signal in signals] == [lead["signal"] for lead in ecg["leads"]]

    @given(_ECGS)
    def test_a_regular_body_needs_no_models(self, ecg: dict[str, Any]) -> None:
        ecg["leads"] = [{**lead, "name": str(index)} for index, lead in enumerate(ecg["leads"])]

        found = read_ecg_fast(ecg, limits=_LIMITS, now=_NOW)

        assert values_of(found) == values_of(read_ecg(ecg, limits=_LIMITS, now=_NOW))

    def test_an_ecg_at_every_limit_needs_no_models(self) -> None:
        leads = [{"name": str(samples), "signal": [samples] * samples} for samples in (8, 7, 4, 1)]
        ecg = an_ecg_body(leads=leads)

        found = read_ecg_fast(ecg, limits=_LIMITS, now=_NOW)

        assert values_of(found) == values_of(read_ecg(ecg, limits=_LIMITS, now=_NOW))

    @pytest.mark.parametrize("path", _RECORDINGS, ids=lambda path: path.stem)
    def test_real_recordings_are_parsed_once(self, path: Path) -> None:
        body, limits = path.read_bytes(), SubmissionLimits()

        document = parse_into_arrays(body, limits)

        assert values_of(read_ecg_fast(document, limits=limits, now=_NOW)) == outcome_as_small(body, limits)

    @pytest.mark.parametrize(
        "signal",
        [
            "[-0]",
            "[0, -1, 1]",
            "[-2147483648, 2147483647]",
            "[32767]",
            "[-32769]",
            " [ 1 ,\n\t2 ] ",
            "[1,2,3,4,5,6,7,8]",
        ],
    )
    def test_a_signal_may_have_any_white_space(self, signal: str) -> None:
        body = with_signal(signal)

        assert isinstance(outcome_as_large(body), EcgValues)
        assert outcome_as_large(body) == outcome_as_small(body)
        assert parse_into_arrays(body, _LIMITS)


class TestIrregularBodies:
    @given(
        _ECGS,
        st.lists(st.tuples(_KEYS, _ANYTHING), max_size=2),
        st.lists(st.tuples(_KEYS, _ANYTHING), max_size=2),
    )
    def test_repeated_or_invalid_fields_have_the_same_outcome_as_in_a_small_body(
        self, ecg: dict[str, Any], fields: list[tuple[str, Any]], lead_fields: list[tuple[str, Any]]
    ) -> None:
        leads = [Pairs([*lead.items(), *lead_fields]) for lead in ecg["leads"]]
        body = json_text(
            Pairs([*{**ecg, "leads": leads}.items(), *fields]), (",", ":"), escape=False
        ).encode()

        assert outcome_as_large(body) == outcome_as_small(body)

    @given(_ECGS, st.data())
    def test_any_samples_have_the_same_outcome_as_in_a_small_body(
        self, ecg: dict[str, Any], data: st.DataObject
    ) -> None:
        ecg["leads"][0]["signal"] = data.draw(st.lists(_INTEGERS | _ANYTHING, max_size=9))
        body = body_of(ecg)

        assert outcome_as_large(body) == outcome_as_small(body)

    @given(_ECGS, st.data())
    def test_damaged_bodies_have_the_same_outcome_as_small_ones(
        self, ecg: dict[str, Any], data: st.DataObject
    ) -> None:
        body = body_of(ecg, (",", ":"))
        for _ in range(data.draw(st.integers(1, 3))):
            start = data.draw(st.integers(0, len(body)))
            body = body[:start] + data.draw(_SPLICES) + body[start + data.draw(st.integers(0, 2)) :]

        assert outcome_as_large(body) == outcome_as_small(body)

    @given(st.binary(max_size=40) | st.text(max_size=20).map(str.encode))
    def test_any_bytes_have_the_same_outcome_as_in_a_small_body(self, body: bytes) -> None:
        assert outcome_as_large(body) == outcome_as_small(body)

    @pytest.mark.parametrize(
        "signal",
        [
            "[]",
            "[[1]]",
            "[1, [2], 3]",
            "[[1, 2, 3]]",
            "[[]]",
            "[{}]",
            "[1.0]",
            "[1e3]",
            "[true]",
            "[null]",
            '["1"]',
            "[2147483648]",
            "[-2147483649]",
            "[9223372036854775808]",
            "[18446744073709551616]",
            "[01]",
            "[+1]",
            "[1,]",
            "[NaN]",
            "[1,2,3,4,5,6,7,8,9]",
            "null",
            '"[1]"',
            "{}",
            "1",
        ],
    )
    def test_an_invalid_signal_is_refused_as_in_a_small_body(self, signal: str) -> None:
        body = with_signal(signal)

        assert not isinstance(outcome_as_large(body), EcgValues)
        assert outcome_as_large(body) == outcome_as_small(body)

    @pytest.mark.parametrize(
        "body",
        [
            b"\xef\xbb\xbf" + with_signal("[1]"),  # simdjson skips a byte order mark
            with_signal("[1]") + b"\0",
            with_signal("[1]") + b"x",
            with_signal("[1]").replace(b"{", b'{"id": "10", ', 1),
            with_signal("[1]").replace(b"{", b'{"\\u0069d": "10", ', 1),
            with_signal("[1]").replace(b"{", b'{"id\\u0000": "10", ', 1),
            with_signal("[1]").replace(b'"signal"', b'"signal": [2], "signal"'),
            with_signal("[1]").replace(b'"I"', b'"\\ud800"'),
            with_signal("[1]").replace(b'"I"', b'"\xff"'),
            with_signal("[1]").replace(b'"I"', b'["I"]'),
            with_signal("[1]").replace(b'"10"', b"[]"),
            with_signal("[1]").replace(b'"10"', b"1" * 5000),
            with_signal("[1]").replace(b'"I"', b'"I", "num_samples": 2'),
            with_signal("[1]").replace(b'"I"', b'"I", "adc_gain": 0'),
            with_signal("[1]").replace(b'"leads"', b'"lead"'),
            json.dumps(an_ecg_body(leads=[])).encode(),
            json.dumps(
                an_ecg_body(leads=[{"name": "I", "signal": [1]}, {"name": "i", "signal": [1]}])
            ).encode(),
            json.dumps(an_ecg_body(leads=[{"name": str(n), "signal": [1]} for n in range(5)])).encode(),
            json.dumps(an_ecg_body(leads=[{"name": str(n), "signal": [1] * 7} for n in range(3)])).encode(),
            json.dumps(an_ecg_body(**{str(n): n for n in range(33)})).encode(),
            json.dumps([an_ecg_body()]).encode(),
            b"[" * 2000 + b"]" * 2000,
            b"[" * 4100,
            b"{" * 5000,
            b"",
            b"1",
        ],
    )
    def test_an_invalid_ecg_is_refused_as_in_a_small_body(self, body: bytes) -> None:
        assert not isinstance(outcome_as_large(body), EcgValues)
        assert outcome_as_large(body) == outcome_as_small(body)

    def test_a_small_body_is_refused_with_the_line_of_the_error_in_its_signal(self) -> None:
        body = with_signal(f"[{'1, ' * 200}x]")
        assert len(body) < _LARGE

        found = outcome(lambda: read_ecg_json(body, limits=SubmissionLimits(), now=_NOW))

        assert isinstance(found, dict)
        assert f"line 1 column {body.index(b'x') + 1} (char {body.index(b'x')})." in str(found["detail"])


class TestUnparsedSignals:
    """What a large body comes to whose arrays are extracted, however short they are."""

    @given(_ECGS, _SEPARATORS, st.booleans())
    def test_a_body_with_signals_cut_out_gives_the_same_ecg(
        self,
        ecg: dict[str, Any],
        separators: tuple[str, str],
        escape: bool,  # noqa: FBT001
    ) -> None:
        body = body_of(ecg, separators, escape=escape)

        assert outcome_by_extracting(body) == outcome_as_small(body)

    @given(_ECGS, st.data())
    def test_any_samples_have_the_same_outcome_as_parsed_ones(
        self, ecg: dict[str, Any], data: st.DataObject
    ) -> None:
        ecg["leads"][0]["signal"] = data.draw(st.lists(_INTEGERS | _ANYTHING, max_size=9))
        body = body_of(ecg)

        assert outcome_by_extracting(body) == outcome_as_small(body)

    @pytest.mark.parametrize("field", ["id", "date", "unit", "sampling_rate_hz", "patient"])
    def test_an_unparsed_array_in_another_field_is_called_an_array(self, field: str) -> None:
        body = json.dumps(an_ecg_body(**{field: [1, 2]})).encode()

        assert outcome_by_extracting(body) == outcome_as_small(body)

    def test_numbers_instead_of_leads_are_counted_as_leads(self) -> None:
        body = json.dumps(an_ecg_body(leads=[1] * 1000)).encode()

        found = outcome_by_extracting(body)

        assert isinstance(found, dict)
        assert found["errors"] == [{"pointer": "/leads", "detail": "expected 1 to 4 leads, found 1000"}]

    def test_invalid_json_in_a_signal_is_reported_with_its_offset_in_the_body(self) -> None:
        signal = b"[%s]" % (b"1, " * 500 + b"x")
        body = with_signal("[1]").replace(b"[1]", signal)
        assert len(body) > _LARGE

        found = outcome(lambda: read_ecg_json(body, limits=SubmissionLimits(), now=_NOW))

        assert isinstance(found, dict)
        assert found["status"] == 400
        assert f"char {body.index(b'x')}." in str(found["detail"])

    def test_invalid_json_behind_a_signal_is_reported_with_its_offset_in_the_body(self) -> None:
        body = with_signal(f"[{'1, ' * 500}1]").replace(b"}]}", b"}x]}")

        found = outcome(lambda: read_ecg_json(body, limits=SubmissionLimits(), now=_NOW))

        assert isinstance(found, dict)
        assert found["status"] == 400
        assert f"char {body.index(b'x')}." in str(found["detail"])

    def test_a_bad_sample_far_into_a_signal_is_pointed_at(self) -> None:
        signal = [1] * 100_000 + [0.5, 2, None]  # past the first piece
        body = json.dumps(an_ecg_body(leads=[{"name": "I", "signal": signal}])).encode()
        assert len(body) > PIECE_BYTES

        found = outcome(lambda: read_ecg_json(body, limits=SubmissionLimits(), now=_NOW))

        assert isinstance(found, dict)
        detail = (
            "expected an integer from -2147483648 to 2147483647, "
            "found a number with a fraction or past 64 bits (and 1 more)"
        )
        assert found["errors"] == [{"pointer": "/leads/0/signal/100000", "detail": detail}]


def outcome_by_extracting(body: bytes) -> EcgValues | dict[str, object]:
    return outcome(
        lambda: read_ecg(parse_with_unparsed_signals(body, _LIMITS, min_bytes=1), limits=_LIMITS, now=_NOW)
    )


_FRACTIONS = b"0.5," * 4_000_000 + b"0.5"
_NEAR_THE_SMALLEST = "2.2250738585072011999e-308"
_TWO_LEADS = b'[{"name":"I","signal":[%s]},{"name":"II","signal":[%s]}]'
_DEAREST = {
    "an escape and 4,000,000 fractions": with_signal(f"[{_FRACTIONS.decode()}]").replace(
        b'"I"', b'"\\u0049"'
    ),
    "two leads of a million fractions": with_signal("[]").replace(
        b'[{"name": "I", "signal": []}]', _TWO_LEADS % (_FRACTIONS[:3_999_999], _FRACTIONS[:3_999_999])
    ),
    "an unknown list of fractions": with_signal("[1]").replace(b'"id"', b'"\\u0040":[%s],"id"' % _FRACTIONS),
    "fractions for leads": b'{"id": "1", "date": "2023-07-30", "leads": [%s]}' % _FRACTIONS,
    "a million keys and an escape": b'{"\\u0040":1,%s}' % b",".join(b'"%d":1' % n for n in range(1_000_000)),
    "a million objects": b"[%s]" % b",".join([b"{}"] * 1_000_000),
    "a long text of escapes": with_signal("[1]").replace(b'"I"', b'"%s"' % (b"\\u0049" * 1_000_000)),
    "white space": b" " * 8_000_000,
}


class TestLimits:
    """What would cost much is not parsed at all, or in small pieces."""

    @pytest.mark.parametrize("samples", [1, 128, 60_000, 300_000])
    @pytest.mark.parametrize("name", ["I", "[1]"])  # the fast way and the slow one
    @pytest.mark.parametrize("place", [b"{", b'"leads"', b"}]}", b'"name"'])
    def test_the_overhead_of_any_body_may_have_64_kib(self, samples: int, name: str, place: bytes) -> None:
        signal = ",".join(["1"] * samples)
        body = with_signal(f"[{signal}]").replace(b'"I"', json.dumps(name).encode())
        beside = len(body) - (len(signal) if len(signal) >= MIN_EXTRACTED_BYTES else 0)

        def with_white_space(more: int) -> EcgValues | dict[str, object]:
            white = body.replace(place, b" " * (64 * 1024 - beside + more) + place, 1)
            return outcome(lambda: read_ecg_json(white, limits=SubmissionLimits(), now=_NOW))

        most, too_much, far_too_much = map(with_white_space, (0, 1, 200_000))

        assert isinstance(most, EcgValues)
        assert isinstance(too_much, dict)
        assert too_much == far_too_much
        assert too_much["status"] == 413
        assert "may have 65536 bytes, white space included" in str(too_much["detail"])

    @pytest.mark.parametrize("signal", ["1", "1," * 127 + "10"])
    def test_the_fast_path_takes_the_same_overhead(self, signal: str) -> None:
        body = with_signal(f"[{signal}]")
        beside = len(body) - (len(signal) if len(signal) >= MIN_EXTRACTED_BYTES else 0)
        most = body + b" " * (64 * 1024 - beside)

        assert parse_into_arrays(most, SubmissionLimits())["leads"][0]["signal"][0] == 1
        with pytest.raises(ValueError, match="much beside the signals"):
            parse_into_arrays(most + b" ", SubmissionLimits())

    def test_the_overhead_of_any_body_may_have_5120_strings_and_arrays(self) -> None:
        def body(parts: int) -> bytes:
            return json.dumps(["x"] * (parts - 1)).encode()

        assert len(parse_with_unparsed_signals(body(5120), SubmissionLimits())) == 5119
        with pytest.raises(
            ProblemError, match="65536 bytes, white space included, and 5120 texts and arrays"
        ):
            parse_with_unparsed_signals(body(5121), SubmissionLimits())

    @pytest.mark.parametrize("name", ["I", "[1]"])
    @pytest.mark.parametrize("size", [300, 200_000, 1_000_000])
    def test_white_space_within_a_signal_is_not_counted(self, name: str, size: int) -> None:
        body = with_signal("[1 , 2]").replace(b'"I"', json.dumps(name).encode())
        white = body.replace(b"[1 , 2]", b"[1%b, 2\n]" % (b" " * size))

        found = outcome(lambda: read_ecg_json(white, limits=SubmissionLimits(), now=_NOW))

        assert isinstance(found, EcgValues)
        assert found == outcome(lambda: read_ecg_json(body, limits=SubmissionLimits(), now=_NOW))

    @pytest.mark.parametrize("body", [b"%b", b'{"leads":[[%b'])
    @pytest.mark.parametrize("mess", [b"[" * 20, b"]" * 70_000, b"[]" * 20, b"[1" + b" " * 70_000, b'"[' * 9])
    def test_invalid_json_is_reported_with_any_brackets(self, body: bytes, mess: bytes) -> None:
        found = outcome(
            lambda: read_ecg_json((body % mess).ljust(70_000), limits=SubmissionLimits(), now=_NOW)
        )

        assert isinstance(found, dict)
        assert found["status"] in {400, 413}

    @pytest.mark.parametrize("body", _DEAREST.values(), ids=_DEAREST)
    def test_parsers_get_limited_parts_of_a_large_body(
        self, body: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes: dict[str, list[int]] = {"slow": [0], "fast": [0]}

        def counted(kind: str, parse: Callable[..., Any]) -> Callable[..., Any]:
            def counting(text: bytes, **options: Any) -> Any:
                sizes[kind].append(len(text))
                return parse(text, **options)

            return counting

        monkeypatch.setattr("json.loads", counted("slow", json.loads))
        monkeypatch.setattr("orjson.loads", counted("fast", orjson.loads))

        assert not isinstance(
            outcome(lambda: read_ecg_json(body, limits=SubmissionLimits(), now=_NOW)), EcgValues
        )
        assert max(sizes["slow"]) <= 64 * 1024
        assert max(sizes["fast"]) <= PIECE_BYTES + 2
        assert sum(sizes["fast"]) <= 2 * 8_000_100  # what an ECG of too few samples to be refused may hold

    @pytest.mark.parametrize("number", [_NEAR_THE_SMALLEST, "12345678901234567890123e5", "1E-310", "0.5"])
    @pytest.mark.parametrize("count", [100, 15_000, 300_000])
    def test_simdjson_gets_few_fractions(
        self, number: str, count: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given: list[bytes] = []

        class Counting:
            def parse(self, text: bytes) -> Any:
                given.append(text)
                return Parser().parse(text)

        monkeypatch.setattr("gateway.formats.json_reader.Parser", Counting)
        monkeypatch.setattr("gateway.formats.json_arrays.Parser", Counting)
        body = with_signal(f"[{','.join([number] * count)}]")

        found = outcome(lambda: read_ecg_json(body, limits=SubmissionLimits(), now=_NOW))

        assert sum(text.count(number.encode()) for text in given) == 0
        assert isinstance(found, dict)
        assert f"a number with a fraction or past 64 bits (and {count - 1} more)" in str(found)

    @pytest.mark.parametrize("name", ["I", "[1]"])  # the fast way and the slow one
    def test_simdjson_gets_half_a_mebibyte_at_the_most(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes: list[int] = []

        class Counting:
            def parse(self, text: bytes) -> Any:
                sizes.append(len(text))
                return Parser().parse(text)

        monkeypatch.setattr("gateway.formats.json_reader.Parser", Counting)
        monkeypatch.setattr("gateway.formats.json_arrays.Parser", Counting)
        body = with_signal(f"[{'1000,' * 200_000}1]").replace(b'"I"', json.dumps(name).encode())

        found = outcome(lambda: read_ecg_json(body, limits=SubmissionLimits(), now=_NOW))

        assert isinstance(found, EcgValues)
        assert max(sizes) <= 512 * 1024

    def test_a_body_may_have_12_signs_of_fractions_for_each_lead_and_for_itself(self) -> None:
        def body(signs: int) -> bytes:
            return json.dumps({"leads": [{"name": "." * signs, "signal": [1]}]}).encode()

        assert parse_into_arrays(body(24), _LIMITS)["leads"][0]["signal"].tolist() == [1]
        with pytest.raises(ValueError, match="too many fractions"):
            parse_into_arrays(body(25), _LIMITS)

    def test_fractional_gains_stay_on_the_fast_path(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr("gateway.formats.json_reader.parse_with_unparsed_signals")
        leads = [
            {"name": f"lead {n}", "signal": [1, 2], "num_samples": 2, "baseline": 1, "adc_gain": 0.5}
            for n in range(32)
        ]
        body = json.dumps(an_ecg_body(leads=leads, sampling_rate_hz=499.5)).encode()

        found = outcome(lambda: read_ecg_json(body, limits=SubmissionLimits(), now=_NOW))

        assert isinstance(found, EcgValues)

    @pytest.mark.parametrize(
        "body",
        [
            with_signal(f"[{'1,' * 199}1]"),
            json.dumps(an_ecg_body(leads=[{"name": str(n), "signal": [1]} for n in range(5)])).encode(),
            b"[" * 100,
            b'{"leads": [[' + b"{" * 100,
            b"{}",
            b'{"leads": []}',
        ],
        ids=["more samples", "more leads", "arrays", "objects", "no array", "no signal"],
    )
    def test_a_body_past_the_limits_or_without_signals_is_not_parsed(
        self, body: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr("gateway.formats.json_reader.Parser")

        with pytest.raises(ValueError, match="too many"):
            parse_into_arrays(body, _LIMITS)

    @pytest.mark.parametrize("where", ["the ECG", "a lead"])
    def test_an_object_with_too_many_fields_is_not_parsed(self, where: str) -> None:
        def body(num_fields: int) -> bytes:
            fields = {str(number): number for number in range(num_fields - 1)}
            lead: dict[str, Any] = {"signal": [1]}
            if where == "a lead":
                return json.dumps({"leads": [lead | fields]}).encode()
            return json.dumps({"leads": [lead], **fields}).encode()

        assert parse_into_arrays(body(MAX_FIELDS), _LIMITS)["leads"][0]["signal"].tolist() == [1]
        with pytest.raises(TypeError, match="very many fields"):
            parse_into_arrays(body(MAX_FIELDS + 1), _LIMITS)

    def test_the_number_of_arrays_and_objects_is_limited(self) -> None:
        limits = SubmissionLimits(max_leads=MAX_CONTAINERS)

        def body(leads: int) -> bytes:
            return json.dumps(
                an_ecg_body(leads=[{"name": str(n), "signal": [1]} for n in range(leads)])
            ).encode()

        most = MAX_CONTAINERS // 2 - 1

        # Names would count as fractions, by their e.
        def nameless(leads: int) -> bytes:
            return json.dumps({"leads": [{"signal": [1]}] * leads}).encode()

        assert len(parse_into_arrays(nameless(most), limits)["leads"]) == most
        with pytest.raises(ValueError, match="too many arrays"):
            parse_into_arrays(nameless(most + 1), limits)
        assert isinstance(outcome_as_large(body(most), limits), EcgValues)
        assert outcome_as_large(body(most + 1), limits) == outcome_as_small(body(most + 1), limits)
        assert not isinstance(outcome_as_large(body(most + 1), limits), EcgValues)


class TestTheSizeOfABody:
    def test_is_limited_by_the_settings_and_to_half_when_compressed(self) -> None:
        reader = JsonReader(GatewayOnlySettings(max_body_bytes=2**20))

        assert reader.max_bytes(None) == 2**20
        assert reader.max_bytes("gzip") == 2**19
