"""Generate the AsyncAPI 3 document of the events, from the types and by the functions that write them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal

import orjson
from pydantic import TypeAdapter

from gateway.contract.event_schemas import EVENT_MODELS, SchemasWithoutFieldTitles
from shared.events import (
    CONTENT_TYPE,
    EcgKey,
    EventType,
    deleted_event,
    failed_event,
    processed_event,
    submitted_event,
)

if TYPE_CHECKING:
    from shared.events import Event

Json = dict[str, Any]

_DESCRIPTION: Final = """
What becomes of each ECG, published to RabbitMQ.

Declare a durable queue of your own and bind it to the exchange with the routing keys that you want. The
exchange is Isoline's: declare it passively or not at all. Delivery is at least once: deduplicate by the
event's `id`; AMQP's `message_id` differs each time that an event is published. No order is promised.

Each message is a CloudEvents 1.0 document in structured mode, without samples. Within a version events only
gain keys: ignore those that you don't know. A breaking change gets a new routing key beside the old one.

Without AMQP the same events are read and followed over HTTP (`GET /events`), or sent to a URL
(`POST /webhook`).
"""
_QUEUE: Final = """
A subscriber's queue: durable, and bound to the exchange with the routing keys of the events that it wants.
It gets what is published from then on. Its subscriber declares it.
"""

_SUMMARIES: Final = {
    EventType.SUBMITTED: "ECGs wait for analysis",
    EventType.PROCESSED: "An ECG was analysed",
    EventType.FAILED: "An ECG could not be analysed",
    EventType.DELETED: "An ECG was erased",
}
_BINDING_VERSION: Final = "0.3.0"


def asyncapi_document(*, namespace: str, version: str) -> Json:
    """The contract of the events of an installation whose exchanges and queues have this namespace."""
    exchange = f"{namespace}ecg.events"
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Isoline events",
            "version": version,
            "description": _DESCRIPTION.strip(),
            "license": {"name": "MIT", "url": "https://spdx.org/licenses/MIT.html"},
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {"rabbitmq": _server()},
        "channels": {
            **{type_.value: _channel(type_, exchange) for type_ in EventType},
            "subscriber": _queue(f"{namespace}sub."),
        },
        "operations": {f"publish.{type_}": _operation(type_) for type_ in EventType},
        "components": {
            "messages": {type_.value: _message(type_, example) for type_, example in _examples().items()},
            "schemas": _schemas(),
            "securitySchemes": {
                "account": {
                    "type": "userPassword",
                    "description": (
                        "A user of RabbitMQ who may configure, write and read queues of these names, "
                        "and read the exchange; nothing else."
                    ),
                }
            },
        },
    }


def _server() -> Json:
    return {
        "host": "{host}:5672",
        "protocol": "amqp",
        "description": "RabbitMQ; its address and an account are its administrator's to give.",
        "variables": {"host": {"default": "localhost"}},
        "security": [{"$ref": "#/components/securitySchemes/account"}],
    }


def _channel(type_: EventType, exchange: str) -> Json:
    is_for_processors = type_ is EventType.SUBMITTED
    return {
        "address": type_,
        "title": type_,
        "summary": _SUMMARIES[type_],
        "description": f"{EVENT_MODELS[type_].__doc__}",
        "messages": {type_.value: {"$ref": f"#/components/messages/{type_}"}},
        "bindings": {
            "amqp": {
                "is": "routingKey",
                "exchange": {"name": exchange, "type": "topic", "durable": True, "autoDelete": False},
                "bindingVersion": _BINDING_VERSION,
            }
        },
        "x-isoline-for": "processors" if is_for_processors else "subscribers",
    }


def _queue(prefix: str) -> Json:
    """The channel of a subscriber's queue; AMQP bindings have no place for a queue's arguments."""
    return {
        "address": f"{prefix}{{service}}",
        "title": "Your queue",
        "description": _QUEUE.strip(),
        "parameters": {"service": {"description": "Your service's name.", "examples": ["billing"]}},
        "messages": {
            type_.value: {"$ref": f"#/components/messages/{type_}"}
            for type_ in EventType
            if type_ is not EventType.SUBMITTED
        },
        "bindings": {
            "amqp": {
                "is": "queue",
                "queue": {
                    "name": f"{prefix}{{service}}",
                    "durable": True,
                    "exclusive": False,
                    "autoDelete": False,
                },
                "x-isoline-queue-arguments": {"x-queue-type": "quorum"},
                "bindingVersion": _BINDING_VERSION,
            }
        },
    }


def _operation(type_: EventType) -> Json:
    channel = f"#/channels/{type_}"
    return {
        "action": "send",
        "channel": {"$ref": channel},
        "summary": _SUMMARIES[type_],
        "messages": [{"$ref": f"{channel}/messages/{type_}"}],
        "bindings": {"amqp": {"deliveryMode": 2, "mandatory": True, "bindingVersion": _BINDING_VERSION}},
    }


def _message(type_: EventType, example: Event) -> Json:
    return {
        "name": type_,
        "title": _SUMMARIES[type_],
        "contentType": CONTENT_TYPE,
        "payload": {"$ref": f"#/components/schemas/{EVENT_MODELS[type_].__name__}"},
        "bindings": {"amqp": {"messageType": type_, "bindingVersion": _BINDING_VERSION}},
        "examples": [{"name": type_, "payload": orjson.loads(example.body)}],
    }


def _examples() -> dict[EventType, Event]:
    """An event of each type, by the function that writes it."""
    key = EcgKey("demo", "10", 1)
    found = {"leads": [{"I": {"zero_crossings": 2}}], "insights": {"zero_crossings": 1}}
    context: Any = {
        "source": "urn:uuid:8d124754-a6c1-46a9-9fcb-1d5b6ead48b6",
        "now": datetime(2026, 11, 30, 8, 40, 4, 228410, tzinfo=UTC),
        "traceparent": "00-90975aee2a8df4e82024e5519608a0ac-90975aee2a8df4e8-01",
    }
    return {
        EventType.SUBMITTED: submitted_event([key], **context),
        EventType.PROCESSED: processed_event(key, found, **context),
        EventType.FAILED: failed_event(key, "Given up after 5 attempts.", **context),
        EventType.DELETED: deleted_event(key, **context),
    }


@cache  # 30 ms, and tests start many gateways in one process
def _schemas() -> Json:
    mode: Literal["validation"] = "validation"
    _, definitions = TypeAdapter.json_schemas(
        [(type_, mode, TypeAdapter(model)) for type_, model in EVENT_MODELS.items()],
        ref_template="#/components/schemas/{model}",
        schema_generator=SchemasWithoutFieldTitles,
    )
    schemas: Json = definitions["$defs"]
    return schemas
