"""Bodies of responses about events."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from gateway.http.validation import ResponseBody
from shared.event_models import DeletedEvent, FailedEvent, ProcessedEvent

_Event: TypeAlias = Annotated[ProcessedEvent | FailedEvent | DeletedEvent, Field(discriminator="type")]


class EventsResponse(ResponseBody):
    """Some events, oldest first."""

    events: Annotated[
        list[_Event],
        Field(description="CloudEvents documents, as they are published over AMQP, with the same ids."),
    ]
    cursor: Annotated[str, Field(description="Ask with it, as `after`, for what follows; now or later.")]
    has_more: Annotated[bool, Field(description="Whether it is worth asking again at once.")]
