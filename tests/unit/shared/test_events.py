from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import UnreadableMessageError
from shared.events import (
    LEGACY_SOURCE,
    EcgKey,
    EventType,
    deleted_event,
    failed_event,
    processed_event,
    read_submitted,
    submitted_event,
)
from tests.support.builders import SOURCE

if TYPE_CHECKING:
    from shared.events import Event

_NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
_KEY = EcgKey("ada", "10", 1)
_TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_DOCUMENT: dict[str, Any] = {"leads": [{"I": {"zero_crossings": 2}}], "insights": {"zero_crossings": 1}}


def events_of(source: str) -> list[Event]:
    return [
        submitted_event([_KEY], source=source, now=_NOW, traceparent=_TRACEPARENT),
        processed_event(_KEY, _DOCUMENT, source=source, now=_NOW, traceparent=_TRACEPARENT),
        failed_event(_KEY, "why", source=source, now=_NOW, traceparent=_TRACEPARENT),
        deleted_event(_KEY, source=source, now=_NOW, traceparent=_TRACEPARENT),
    ]


_EVENTS = events_of(SOURCE)

# Once a subscriber has seen them they can't change: it deduplicates by them.
_KNOWN_IDS = {
    SOURCE: [
        "a5ca79cc-68e5-55d8-9bc6-fe253f923ab5",
        "a625a1bf-ec0c-5929-ade3-3004be255ec2",
        "703df417-04a2-54d8-b9d8-6cc46463af7d",
        "4ef0f6f7-ef09-5144-bfee-2f76f9c44942",
    ],
    LEGACY_SOURCE: [
        "a30604d3-6d39-54d1-9a25-81cc6b810e28",
        "24ccb5bf-8d66-5619-b001-77f8c1c089ba",
        "24853d41-8995-55c9-a73c-2d4e5e63e132",
        "68aab335-e7aa-5f3e-a51b-746710c7c24f",
    ],
}

# PostgreSQL's text holds neither NUL nor half a surrogate pair.
_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
_KEYS = st.lists(st.builds(EcgKey, _TEXT, _TEXT, st.integers(1, 2**31 - 1)), min_size=1, max_size=64)


def said(event: Event) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(event.body)
    return document


def a_submitted_body(**changes: Any) -> bytes:
    return json.dumps(said(submitted_event([_KEY], source=SOURCE, now=_NOW)) | changes).encode()


class TestWireForm:
    @pytest.mark.parametrize("event", _EVENTS)
    def test_an_event_is_a_cloudevent_with_all_that_it_must_have(self, event: Event) -> None:
        document = said(event)

        assert document["specversion"] == "1.0"
        assert document["id"] == str(event.id)
        assert document["source"] == SOURCE
        assert document["type"] == event.type
        assert document["subject"] == "ada/10"
        assert document["datacontenttype"] == "application/json"
        assert datetime.fromisoformat(document["time"]) == _NOW
        assert document["traceparent"] == _TRACEPARENT

    @pytest.mark.parametrize("event", _EVENTS)
    def test_an_event_has_no_attribute_that_cloudevents_would_not_take(self, event: Event) -> None:
        assert all(name.isalnum() and name.islower() for name in said(event))
        assert None not in said(event).values()

    def test_what_is_not_known_is_left_out(self) -> None:
        event = said(submitted_event([_KEY, _KEY._replace(id="11")], source=SOURCE, now=_NOW))

        assert not {"subject", "traceparent"} & event.keys()

    def test_a_processed_event_carries_the_insights(self) -> None:
        event = processed_event(_KEY, _DOCUMENT, source=SOURCE, now=_NOW, traceparent=None)

        assert said(event)["data"] == {
            "owner": "ada",
            "id": "10",
            "generation": 1,
            "status": "completed",
            "leads": [{"I": {"zero_crossings": 2}}],
            "insights": {"zero_crossings": 1},
        }

    def test_a_failed_event_says_why(self) -> None:
        event = failed_event(_KEY, "why", source=SOURCE, now=_NOW, traceparent=None)

        assert said(event)["data"] == {
            "owner": "ada",
            "id": "10",
            "generation": 1,
            "status": "failed",
            "error": "why",
        }

    def test_a_submitted_event_names_ecgs_and_nothing_of_their_content(self) -> None:
        event = submitted_event([_KEY, EcgKey("bob", "7", 2)], source=SOURCE, now=_NOW)

        assert said(event)["data"] == {
            "ecgs": [
                {"owner": "ada", "id": "10", "generation": 1},
                {"owner": "bob", "id": "7", "generation": 2},
            ]
        }


class TestIds:
    def test_the_id_of_a_fact_never_changes(self) -> None:
        later = datetime(2027, 1, 1, tzinfo=UTC)

        assert (
            failed_event(_KEY, "a", source=SOURCE, now=_NOW, traceparent=None).id
            == failed_event(_KEY, "b", source=SOURCE, now=later, traceparent=_TRACEPARENT).id
        )

    @pytest.mark.parametrize("source", _KNOWN_IDS)
    def test_subscribers_of_yesterday_know_the_ids_of_today(self, source: str) -> None:
        assert [event.id for event in events_of(source)] == [UUID(known) for known in _KNOWN_IDS[source]]

    def test_two_installations_never_share_an_id_for_a_fact(self) -> None:
        sources = [SOURCE, LEGACY_SOURCE, "https://example.org/isoline", "https://example.org/isoline2"]

        ids = {event.id for source in sources for event in events_of(source)}

        assert len(ids) == len(sources) * len(_EVENTS)

    def test_each_fact_has_an_id_of_its_own(self) -> None:
        keys = [
            EcgKey("ada", "10", 1),
            EcgKey("ada", "10", 2),
            EcgKey("ada", "1", 1),
            EcgKey("ada1", "0", 1),
            EcgKey("bob", "10", 1),
            EcgKey('a","b', "10", 1),
            EcgKey("a", 'b","10', 1),
        ]

        events = [
            event
            for key in keys
            for event in (
                submitted_event([key], source=SOURCE, now=_NOW),
                processed_event(key, _DOCUMENT, source=SOURCE, now=_NOW, traceparent=None),
                failed_event(key, "why", source=SOURCE, now=_NOW, traceparent=None),
            )
        ]

        assert len({event.id for event in events}) == len(events) == 21


class TestReading:
    @given(_KEYS)
    def test_what_was_written_is_read(self, keys: list[EcgKey]) -> None:
        assert read_submitted(submitted_event(keys, source=SOURCE, now=_NOW).body) == keys

    def test_what_a_later_version_added_is_passed_over(self) -> None:
        ecgs = [{"owner": "ada", "id": "10", "generation": 1, "priority": 5}]

        assert read_submitted(a_submitted_body(more=1, data={"ecgs": ecgs, "more": 1})) == [_KEY]

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"hello",
            b"\xff\xfe",
            b"null",
            b"5",
            b"[]",
            b"{}",
            b'"specversion"',
            b"[" * 5000,
            processed_event(_KEY, _DOCUMENT, source=SOURCE, now=_NOW, traceparent=None).body,
            a_submitted_body(specversion="2.0"),
            a_submitted_body(type="ecg.vanished"),
            a_submitted_body(type=None),
            a_submitted_body(data=None),
            a_submitted_body(data=[]),
            a_submitted_body(data={}),
            a_submitted_body(data={"ecgs": None}),
            a_submitted_body(data={"ecgs": 5}),
            a_submitted_body(data={"ecgs": []}),
            a_submitted_body(data={"ecgs": {}}),
            a_submitted_body(data={"ecgs": ["10"]}),
            a_submitted_body(data={"ecgs": [{"owner": "ada", "id": "10"}]}),
            *(
                a_submitted_body(data={"ecgs": [_KEY._asdict(), _KEY._asdict() | wrong]})
                for wrong in (
                    {"owner": None},
                    {"owner": ["ada"]},
                    {"owner": "a\0"},
                    {"id": 10},
                    {"id": "\0"},
                    {"generation": "1"},
                    {"generation": 1.0},
                    {"generation": True},
                    {"generation": 0},
                    {"generation": -1},
                    {"generation": 2**31},
                    {"generation": 2**64},
                )
            ),
        ],
    )
    def test_what_is_not_such_an_event_is_unreadable(self, body: bytes) -> None:
        with pytest.raises(UnreadableMessageError):
            read_submitted(body)

    @given(st.binary())
    def test_no_bytes_do_anything_worse_than_being_unreadable(self, body: bytes) -> None:
        with pytest.raises(UnreadableMessageError):
            read_submitted(body)

    def test_why_it_is_unreadable_is_said_without_its_content(self) -> None:
        body = a_submitted_body(data={"ecgs": [{"owner": "canary", "id": 5, "generation": 1}]})

        with pytest.raises(UnreadableMessageError) as caught:
            read_submitted(body)

        assert "canary" not in str(caught.value)


def test_the_type_of_an_event_is_its_routing_key() -> None:
    assert {str(type_) for type_ in EventType} == {
        "ecg.submitted",
        "ecg.processed",
        "ecg.failed",
        "ecg.deleted",
    }
