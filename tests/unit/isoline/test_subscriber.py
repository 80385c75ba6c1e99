"""`isoline.subscriber` without a broker: what it reads, and what it refuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import pytest

from isoline import subscriber
from isoline.subscriber import FailedEvent, PostgresInbox, subscribe
from shared import event_models
from tests.support.golden_events import RELEASES, events_of

_TYPES: Final = ("ecg.processed", "ecg.failed", "ecg.deleted")
_EVENT: Final[dict[str, Any]] = {
    "specversion": "1.0",
    "id": "d98f0995-870f-5260-981b-f87cc3429d7c",
    "source": "urn:uuid:8d124754-a6c1-46a9-9fcb-1d5b6ead48b6",
    "type": "ecg.failed",
    "subject": "demo/10",
    "time": "2026-11-30T08:40:04Z",
    "data": {"owner": "demo", "id": "10", "generation": 1, "status": "failed", "error": "Given up."},
}


@pytest.mark.parametrize("release", RELEASES)
def test_the_events_of_each_release_are_read(release: str) -> None:
    documents = [json.loads(body) for body in events_of(release)]
    documents = [it for it in documents if it["type"] in _TYPES]
    assert {it["type"] for it in documents} == set(_TYPES)

    for document in documents:
        event = subscriber._read_event(json.dumps(document).encode(), _TYPES)

        assert event.type == document["type"]
        assert event.data == document["data"]
        assert event.id == UUID(document["id"])
        assert event.time == datetime.fromisoformat(document["time"])
        assert (event.source, event.subject) == (document["source"], document["subject"])
        assert event.traceparent == document.get("traceparent")


@pytest.mark.parametrize("name", ["ProcessedData", "FailedData", "DeletedData", "EcgReference"])
def test_data_has_the_keys_that_are_written(name: str) -> None:
    read, written = getattr(subscriber, name), getattr(event_models, name)

    assert read.__required_keys__ == written.__required_keys__
    assert read.__optional_keys__ == written.__optional_keys__


def test_each_type_that_is_for_subscribers_can_be_subscribed_to() -> None:
    written = {"ProcessedEvent", "FailedEvent", "DeletedEvent", "SubmittedEvent"}

    assert written == {name for name in vars(event_models) if name.endswith("Event")}
    assert set(subscriber._CLASSES) == set(_TYPES)


def test_keys_that_are_not_known_are_ignored() -> None:
    event = subscriber._read_event(json.dumps(_EVENT | {"later": 1, "traceparent": 3}).encode(), _TYPES)

    assert isinstance(event, FailedEvent)
    assert (event.time, event.traceparent) == (datetime(2026, 11, 30, 8, 40, 4, tzinfo=UTC), None)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "it is no JSON"),
        (b"not json", "it is no JSON"),
        (b"\xff\xfe", "it is no JSON"),
        (b'{"id": "d98f', "it is no JSON"),
        (b"[" * 100_000, "it is no JSON"),
        (b"[]", "the event is no object"),
        (b"null", "the event is no object"),
        (b"{}", "the event has no specversion, or one that is no str"),
    ],
)
def test_a_body_that_is_no_event_is_unreadable(body: bytes, reason: str) -> None:
    with pytest.raises(subscriber._UnreadableError) as failure:
        subscriber._read_event(body, _TYPES)

    assert str(failure.value) == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"specversion": "2.0"}, "it is no event of CloudEvents 1.0"),
        ({"type": "ecg.submitted"}, "it is none of the types that were asked for: 'ecg.submitted'"),
        ({"type": ["ecg.failed"]}, "the event has no type, or one that is no str"),
        ({"id": "10"}, "its id or time is malformed: badly formed hexadecimal UUID string"),
        ({"time": "yesterday"}, "its id or time is malformed: Invalid isoformat string: 'yesterday'"),
        ({"time": "2026-11-30T08:40:04"}, "its id or time is malformed: the time has no offset"),
        ({"data": None}, "the event has no data, or one that is no dict"),
        ({"data": {"owner": "demo", "id": 10}}, "data has no id, or one that is no str"),
        ({"data": _EVENT["data"] | {"generation": True}}, "data has no generation, or one that is no int"),
        ({"type": "ecg.processed"}, "data has no leads, or one that is no list"),
    ],
)
def test_an_event_that_breaks_the_contract_is_unreadable(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(subscriber._UnreadableError) as failure:
        subscriber._read_event(json.dumps(_EVENT | change).encode(), _TYPES)

    assert str(failure.value) == reason


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"types": []}, "types: expected some of"),
        ({"types": "ecg.failed"}, "types: expected some of"),
        ({"types": ["ecg.submitted"]}, "types: expected some of"),
        ({"service": ""}, "service: expected"),
        ({"service": "a b"}, "service: expected"),
        ({"service": "billing..2"}, "service: expected"),
        ({"service": "billing.dead"}, "service: expected"),
        ({"service": "b" * 101}, "service: expected"),
        ({"prefetch": 0}, "prefetch: expected 1 to 10000"),
        ({"prefetch": 10_001}, "prefetch: expected 1 to 10000"),
        ({"tries": 0}, "tries: expected 1 to 20"),
        ({"tries": 21}, "tries: expected 1 to 20"),
        ({"url": "http://localhost/"}, "url: expected amqp://"),
        ({"url": ""}, "url: expected amqp://"),
        ({"url": "amqp://a/,amqp://"}, "url: expected amqp://"),
    ],
)
def test_an_argument_that_is_out_of_range_is_refused_at_once(arguments: dict[str, Any], words: str) -> None:
    valid: dict[str, Any] = {"url": "amqp://a/,amqps://b/", "service": "billing.eu-2", "types": _TYPES}
    subscribe(**valid)

    with pytest.raises(ValueError, match=words):
        subscribe(**valid | arguments)


@pytest.mark.parametrize("table", ["", "Inbox", "inbox; DROP TABLE bill", "a.b.c", 'in"box'])
def test_an_inbox_whose_table_has_no_plain_name_is_refused(table: str) -> None:
    with pytest.raises(ValueError, match="table: expected"):
        PostgresInbox(table)


def test_ids_that_are_remembered_are_bounded() -> None:
    ids = [UUID(int=n) for n in range(4)]
    recent = subscriber._RecentIds(3)
    for id_ in ids:
        recent.add(id_)

    assert [id_ in recent for id_ in ids] == [False, True, True, True]
    assert len(recent._ids) == 3
