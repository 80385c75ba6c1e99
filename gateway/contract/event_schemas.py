"""JSON Schemas (2020-12) of events and of their data, from the types of what is written."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, get_type_hints

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema

from shared.event_models import DeletedEvent, FailedEvent, ProcessedEvent, SubmittedEvent
from shared.events import DATA_SCHEMAS, EventType

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]

EVENT_MODELS: Final[Mapping[EventType, Any]] = {
    EventType.SUBMITTED: SubmittedEvent,
    EventType.PROCESSED: ProcessedEvent,
    EventType.FAILED: FailedEvent,
    EventType.DELETED: DeletedEvent,
}


class EventSchemas(NamedTuple):
    """The schemas of a type of event.

    Attributes:
        version: Of both; a breaking change gets the next one, and a type of its own.
        data: Of the event's data; its ``$id`` is the event's ``dataschema``.
        event: Of the whole event.
    """

    version: str
    data: Json
    event: Json


class SchemasWithoutFieldTitles(GenerateJsonSchema):
    """Schemas of fields without titles, which would only repeat their names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        """Never."""
        return False


@cache  # 30 ms, and tests start many gateways in one process
def event_schemas() -> Mapping[EventType, EventSchemas]:
    """The schemas of each type of event."""
    return {type_: _schemas_of(type_, model) for type_, model in EVENT_MODELS.items()}


def _schemas_of(type_: EventType, model: Any) -> EventSchemas:
    name = DATA_SCHEMAS[type_]
    return EventSchemas(
        version=name.rpartition(":")[2],
        data=_schema(name, get_type_hints(model)["data"]),
        event=_schema(f"{name}:event", model),
    )


def _schema(name: str, model: Any) -> Json:
    schema = TypeAdapter(model).json_schema(schema_generator=SchemasWithoutFieldTitles)
    return {"$schema": GenerateJsonSchema.schema_dialect, "$id": name, **schema}
