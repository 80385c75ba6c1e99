"""The events that services exchange, and their wire form: CloudEvents 1.0, structured mode, JSON.

Each names its ``source``, the installation that it happened in; no other installation gives the same id.

A body never holds samples. Within a version of an event its data only gain keys; a breaking change gets a new
type beside the old one. `shared.event_models` has the types of what is written here: the contract is made of
them.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from hashlib import sha1
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

import orjson

from shared.domain.errors import UnreadableMessageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shared.event_models import DeletedData, EcgReference, EventData, FailedData, SubmittedData

CONTENT_TYPE: Final = "application/cloudevents+json"
MAX_ECGS_PER_EVENT: Final = 64

PING: Final = "webhook.ping"
"""The type of the event that tests a webhook; it is not published otherwise, and in no log."""

LEGACY_SOURCE: Final = "/isoline"
"""The source of all installations before each had its own.

It is left out of the hash that makes event ids, so that subscribers still know the ids of its events.
"""

# In a string a quote has a backslash before it, so that nothing of a sender can look like this.
_TRACEPARENT_KEY: Final = b',"traceparent":"'
_TIME_KEY: Final = b',"time":"'
_MAX_GENERATION: Final = 2**31 - 1
_NAMESPACE: Final = UUID("5b1f4c1e-7f0b-5c1c-9f6e-0d2c9a7c4e10")


class EventType(StrEnum):
    """What happened; also the routing key under which subscribers bind to it."""

    SUBMITTED = "ecg.submitted"
    PROCESSED = "ecg.processed"
    FAILED = "ecg.failed"
    DELETED = "ecg.deleted"


DATA_SCHEMAS: Final = {type_: f"urn:isoline:schema:{type_}:1" for type_ in EventType}
"""The name of the schema of each event's data, with its version; the gateway serves the schemas."""


class EcgKey(NamedTuple):
    """Key of one generation of an ECG of one owner: each replay counts the generation up."""

    owner: str
    id: str
    generation: int = 1

    @property
    def subject(self) -> str:
        """Owner and id, as events and log records name the ECG."""
        return f"{self.owner}/{self.id}"


class Event(NamedTuple):
    """An event in its wire form, ready to be stored or published.

    Attributes:
        id: The same for every publication of the same fact: subscribers deduplicate by it.
        type: What happened.
        body: The CloudEvents document.
    """

    id: UUID
    type: EventType
    body: bytes


class EventBatch(NamedTuple):
    """Events that were committed together; one row of the outbox until each of them is published.

    Attributes:
        id: Of the row.
        events: Those that are not published yet; empty if nothing was committed.
    """

    id: UUID
    events: Sequence[Event]


def submitted_event(
    keys: Sequence[EcgKey], *, source: str, now: datetime, traceparent: str | None = None
) -> Event:
    """A claim check for ECGs that were committed together, at most `MAX_ECGS_PER_EVENT` of them."""
    data: SubmittedData = {"ecgs": [_reference(key) for key in keys]}
    return _event(EventType.SUBMITTED, keys, data, source=source, now=now, traceparent=traceparent)


def processed_event(
    key: EcgKey, document: Mapping[str, Any], *, source: str, now: datetime, traceparent: str | None
) -> Event:
    """The ECG was analysed; ``document`` is what `Insights.document` gave."""
    # A `ProcessedData`: mypy can't see the keys of the document, a test can.
    data: Any = {
        "owner": key.owner,
        "id": key.id,
        "generation": key.generation,
        "status": "completed",
        **document,
    }
    return _event(EventType.PROCESSED, [key], data, source=source, now=now, traceparent=traceparent)


def failed_event(key: EcgKey, error: str, *, source: str, now: datetime, traceparent: str | None) -> Event:
    """The ECG will not be analysed in this generation; ``error`` says why in a sentence."""
    data: FailedData = {
        "owner": key.owner,
        "id": key.id,
        "generation": key.generation,
        "status": "failed",
        "error": error,
    }
    return _event(EventType.FAILED, [key], data, source=source, now=now, traceparent=traceparent)


def deleted_event(key: EcgKey, *, source: str, now: datetime, traceparent: str | None) -> Event:
    """The ECG was erased by its owner; subscribers should erase their copies too."""
    data: DeletedData = {"owner": key.owner, "id": key.id, "generation": key.generation}
    return _event(EventType.DELETED, [key], data, source=source, now=now, traceparent=traceparent)


def ping_body(event_id: UUID, *, webhook: UUID, source: str, now: datetime) -> bytes:
    """A test event for the receiver of a webhook: a CloudEvents document about no ECG."""
    document = {
        "specversion": "1.0",
        "id": str(event_id),  # asyncpg's are none that orjson knows
        "source": source,
        "type": PING,
        "time": now,
        "datacontenttype": "application/json",
        "data": {"webhook": str(webhook)},
    }
    return orjson.dumps(document)


def final_event_ids(key: EcgKey, *, source: str) -> list[UUID]:
    """The ids of the events that may end a generation: processed, failed, deleted."""
    types = (EventType.PROCESSED, EventType.FAILED, EventType.DELETED)
    return [_event_id(type_, [key], source) for type_ in types]


def traceparent_of(event: Event) -> str | None:
    """The trace context that an event carries, read without parsing its results."""
    return _text_of(event, _TRACEPARENT_KEY) or None


def time_of(event: Event) -> datetime:
    """The time that an event names, read without parsing its results."""
    return datetime.fromisoformat(_text_of(event, _TIME_KEY))


def _text_of(event: Event, key: bytes) -> str:
    begin = event.body.find(key)
    if begin < 0:
        return ""
    begin += len(key)
    return event.body[begin : event.body.index(b'"', begin)].decode()


def subject_of(event: Event) -> str:
    """The ECG that an event is about, as `EcgKey.subject` gives it; empty for several."""
    subject: str = orjson.loads(event.body).get("subject", "")
    return subject


def read_submitted(body: bytes) -> list[EcgKey]:
    """The ECGs that an ``ecg.submitted`` names, at least one.

    Raises:
        UnreadableMessageError: The body is not such an event.
    """
    try:
        document = orjson.loads(body)
        if document["specversion"] != "1.0" or document["type"] != EventType.SUBMITTED:
            raise UnreadableMessageError(f"expected a CloudEvents 1.0 document of type {EventType.SUBMITTED}")
        keys = [
            EcgKey(named["owner"], named["id"], named["generation"]) for named in document["data"]["ecgs"]
        ]
    except (ValueError, TypeError, KeyError) as error:
        raise UnreadableMessageError(f"not an {EventType.SUBMITTED} event: {error!r}") from error
    if not keys or not all(map(_is_key, keys)):
        raise UnreadableMessageError(
            "expected one ECG or more, each with owner and id as strings and generation as an integer from 1"
        )
    return keys


def _is_key(key: EcgKey) -> bool:
    """Whether storage could hold such a key; a query for any other would fail on every attempt."""
    return (
        isinstance(key.owner, str)
        and isinstance(key.id, str)
        and type(key.generation) is int
        and "\0" not in key.owner + key.id
        and 1 <= key.generation <= _MAX_GENERATION
    )


def _reference(key: EcgKey) -> EcgReference:
    return {"owner": key.owner, "id": key.id, "generation": key.generation}


def _event(
    type_: EventType,
    keys: Sequence[EcgKey],
    data: EventData,
    *,
    source: str,
    now: datetime,
    traceparent: str | None,
) -> Event:
    event_id = _event_id(type_, keys, source)
    document: dict[str, Any] = {"specversion": "1.0", "id": event_id, "source": source, "type": type_}
    if len(keys) == 1:
        document["subject"] = keys[0].subject
    document["time"] = now
    document["datacontenttype"] = "application/json"
    document["dataschema"] = DATA_SCHEMAS[type_]
    if traceparent is not None:
        document["traceparent"] = traceparent
    document["data"] = data
    return Event(event_id, type_, orjson.dumps(document))


def _event_id(type_: EventType, keys: Sequence[EcgKey], source: str) -> UUID:
    fact = [type_, *map(list, keys)]
    return _id_of(orjson.dumps(fact if source == LEGACY_SOURCE else [source, *fact]))


def _id_of(fact: bytes) -> UUID:
    """The ``uuid5`` of a fact in our namespace, made without ``str``: 1.9 us instead of 2.9."""
    digest = sha1(_NAMESPACE.bytes + fact, usedforsecurity=False).digest()
    return UUID(bytes=digest[:16], version=5)
