"""What is written is what the models and schemas say, in this release and in those before."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from gateway.contract.event_schemas import EVENT_MODELS, event_schemas
from shared.domain.catalogue import catalogue
from shared.domain.findings import Absent, Finding, Insights
from shared.events import (
    DATA_SCHEMAS,
    EcgKey,
    EventType,
    deleted_event,
    failed_event,
    processed_event,
    submitted_event,
)
from tests.support.golden_events import (
    RELEASES,
    THIS_RELEASE,
    events_of,
    present_events,
    present_schemas,
    schemas_of,
)
from tests.support.schema_changes import breaking_changes

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.events import Event

    Change = Callable[[dict[str, Any]], object]

_SCHEMAS: Final = event_schemas()
_MODELS: Final = {type_: TypeAdapter(model) for type_, model in EVENT_MODELS.items()}
_PROCESSED: Final = _SCHEMAS[EventType.PROCESSED].event

# PostgreSQL's text holds neither NUL nor half a surrogate pair.
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
_KEYS = st.builds(EcgKey, _TEXT, _TEXT, st.integers(1, 2**31 - 1))
_CONTEXTS = st.fixed_dictionaries(
    {
        "source": st.sampled_from(
            ["/isoline", "urn:uuid:8d124754-a6c1-46a9-9fcb-1d5b6ead48b6", "https://h/p"]
        ),
        "now": st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - it gets UTC
        "traceparent": st.none() | st.from_regex("00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True),
    }
)
_WARNINGS = st.sampled_from(
    [{}, {"warnings": ("flat",)}, {"warnings": ("missing_samples",), "counts": {"missing_samples": 7}}]
)
_OUTCOMES = st.builds(Absent, _TEXT) | st.builds(
    lambda count, warnings: Finding(count, **warnings), st.integers(0, 2**31 - 1), _WARNINGS
)
_NAMES = st.sampled_from(["I", "avr", "MDC_ECG_ELEC_POTL_II", "Lead I (Einthoven)"]) | _TEXT
_DOCUMENTS = st.builds(
    lambda leads, ecg, versions: Insights(tuple(leads), ecg, versions).document(),
    st.lists(
        st.tuples(_NAMES, st.fixed_dictionaries({each.name: _OUTCOMES for each in catalogue().leads})),
        min_size=1,
        max_size=4,
    ),
    st.fixed_dictionaries({}, optional={each.name: _OUTCOMES for each in catalogue().ecg}),
    st.dictionaries(_TEXT, st.integers(1, 99), max_size=3),
)


def problems_of(body: bytes) -> list[str]:
    """What the models and the schemas of an event, and of its data, have against it."""
    document = json.loads(body)
    type_ = EventType(document["type"])
    try:
        _MODELS[type_].validate_json(body)
        problems = []
    except ValidationError as error:
        problems = [str(error)]
    schemas = _SCHEMAS[type_]
    for schema, part in ((schemas.event, document), (schemas.data, document["data"])):
        validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
        problems += [error.message for error in validator.iter_errors(part)]
    return problems


class TestWhatIsWritten:
    @given(st.lists(_KEYS, min_size=1, max_size=64), _CONTEXTS)
    def test_of_submitted_ecgs_is_by_the_contract(self, keys: list[EcgKey], context: dict[str, Any]) -> None:
        assert problems_of(submitted_event(keys, **context).body) == []

    @given(_KEYS, _DOCUMENTS, _CONTEXTS)
    def test_of_an_analysed_ecg_is_by_the_contract(
        self, key: EcgKey, document: dict[str, Any], context: dict[str, Any]
    ) -> None:
        assert problems_of(processed_event(key, document, **context).body) == []

    @given(_KEYS, _TEXT, _CONTEXTS)
    def test_of_a_failed_ecg_is_by_the_contract(
        self, key: EcgKey, error: str, context: dict[str, Any]
    ) -> None:
        assert problems_of(failed_event(key, error, **context).body) == []

    @given(_KEYS, _CONTEXTS)
    def test_of_an_erased_ecg_is_by_the_contract(self, key: EcgKey, context: dict[str, Any]) -> None:
        assert problems_of(deleted_event(key, **context).body) == []

    @pytest.mark.parametrize("event", present_events())
    def test_has_no_key_that_the_models_lack(self, event: Event) -> None:
        model = _MODELS[event.type]
        known = model.dump_python(model.validate_json(event.body), mode="json", exclude_unset=True)

        assert known.keys() == json.loads(event.body).keys()
        assert known["data"] == json.loads(event.body)["data"]

    @pytest.mark.parametrize("event", present_events())
    def test_names_the_schema_of_its_data(self, event: Event) -> None:
        assert json.loads(event.body)["dataschema"] == _SCHEMAS[event.type].data["$id"]

    def test_is_nothing_that_the_schemas_would_not_refuse(self) -> None:
        [plain] = [event for event in present_events() if event.type is EventType.FAILED]
        document = json.loads(plain.body)
        wrong = [
            document | {"id": "5"},
            document | {"time": "yesterday"},
            document | {"dataschema": "no uri"},
            document | {"traceparent": "1"},
            {name: value for name, value in document.items() if name != "subject"},
            document | {"data": document["data"] | {"generation": 0}},
            document | {"data": document["data"] | {"status": "completed"}},
        ]

        assert [bool(problems_of(json.dumps(each).encode())) for each in wrong] == [True] * len(wrong)


class TestReleases:
    def test_each_has_events_of_each_type(self) -> None:
        assert THIS_RELEASE in RELEASES
        assert "0.1.0" in RELEASES
        for release in RELEASES:
            assert {json.loads(body)["type"] for body in events_of(release)} == set(EventType)

    @pytest.mark.parametrize(
        ("release", "body"), [(release, body) for release in RELEASES for body in events_of(release)]
    )
    def test_what_one_published_is_read_for_ever(self, release: str, body: bytes) -> None:
        assert problems_of(body) == [], release

    def test_the_events_of_this_one_are_those_that_it_writes(self) -> None:
        assert events_of(THIS_RELEASE) == [event.body for event in present_events()]

    def test_the_schemas_of_this_one_are_those_that_it_serves(self) -> None:
        assert schemas_of(THIS_RELEASE) == present_schemas()

    @pytest.mark.parametrize("release", RELEASES)
    def test_no_reader_of_one_is_broken(self, release: str) -> None:
        for name, schema in schemas_of(release).items():
            assert breaking_changes(schema, present_schemas()[name]) == [], name

    @pytest.mark.parametrize("release", RELEASES)
    def test_what_is_written_now_is_read_by_the_schemas_of_then(self, release: str) -> None:
        schemas = schemas_of(release)
        for event in present_events():
            schema = schemas[f"{event.type} {DATA_SCHEMAS[event.type].rpartition(':')[2]}"]
            assert not list(Draft202012Validator(schema).iter_errors(json.loads(event.body)))


def data_of(schema: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = schema["$defs"]["ProcessedData"]
    return data


_BREAKING: Final[dict[str, tuple[Change, str]]] = {
    "a removed key": (lambda schema: data_of(schema)["properties"].pop("leads"), "/data/leads: removed"),
    "a removed attribute": (lambda schema: schema["properties"].pop("subject"), "/subject: removed"),
    "another type": (
        lambda schema: data_of(schema)["properties"].update(id={"type": "integer"}),
        "/data/id: changed type",
    ),
    "a narrower number": (
        lambda schema: data_of(schema)["properties"]["generation"].update(maximum=5),
        "/data/generation: changed maximum",
    ),
    "another format": (
        lambda schema: schema["properties"]["id"].update(format="uri"),
        "/id: changed format",
    ),
    "another value": (
        lambda schema: data_of(schema)["properties"]["status"].update(const="done"),
        "/data/status: changed const",
    ),
    "one of several types": (
        lambda schema: data_of(schema)["properties"].update(id={"anyOf": [{"type": "string"}]}),
        "/data/id: changed anyOf",
    ),
    "a key that may be missing now": (
        lambda schema: data_of(schema)["required"].remove("leads"),
        "/data/leads: no longer in each event",
    ),
    "a new key that must be there": (
        lambda schema: data_of(schema)["required"].append("date"),
        "/data/date: not in events of before",
    ),
    "forbidden keys": (
        lambda schema: data_of(schema).update(additionalProperties=False),
        "/data: other properties forbidden",
    ),
    "a retyped insight": (
        lambda schema: schema["$defs"]["LeadFindings"]["properties"]["zero_crossings"].update(type="number"),
        "/data/leads[]/*/zero_crossings: changed type",
    ),
    "other values of keys that are not named": (
        lambda schema: data_of(schema)["properties"]["insights"]["additionalProperties"].update(
            type="string"
        ),
        "/data/insights/*: changed type",
    ),
    "any values of keys that are not named": (
        lambda schema: data_of(schema)["properties"]["insights"].update(additionalProperties=True),
        "/data/insights/*: changed type",
    ),
    "other items": (
        lambda schema: data_of(schema)["properties"]["leads"].update(items={"type": "string"}),
        "/data/leads[]: changed type",
    ),
    "no items": (
        lambda schema: data_of(schema)["properties"]["leads"].pop("items"),
        "/data/leads: changed items",
    ),
}
_ADDITIONS: Final[dict[str, Change]] = {
    "a key": lambda schema: data_of(schema)["properties"].update(date={"type": "string"}),
    "an insight": lambda schema: schema["$defs"]["LeadFindings"]["properties"].update(
        beats={"type": "integer"}
    ),
    "an attribute": lambda schema: schema["properties"].update(sequence={"type": "string"}),
    "words": lambda schema: data_of(schema)["properties"]["id"].update(
        description="Its id.", examples=["10"]
    ),
}


class TestBreakingChanges:
    @pytest.mark.parametrize("name", _BREAKING)
    def test_are_found(self, name: str) -> None:
        change, expected = _BREAKING[name]
        schema = deepcopy(_PROCESSED)
        change(schema)

        assert expected in breaking_changes(_PROCESSED, schema)

    @pytest.mark.parametrize("name", _ADDITIONS)
    def test_are_no_additions(self, name: str) -> None:
        schema = deepcopy(_PROCESSED)
        _ADDITIONS[name](schema)

        assert breaking_changes(_PROCESSED, schema) == []
