"""Bodies of responses about events."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from gateway.http.validation import ResponseBody


class EventsResponse(ResponseBody):
    """Some events, oldest first."""

    events: Annotated[
        list[dict[str, Any]],
        Field(description="CloudEvents documents, as they are published over AMQP, with the same ids."),
    ]
    cursor: Annotated[str, Field(description="Ask with it, as `after`, for what follows; now or later.")]
    has_more: Annotated[bool, Field(description="Whether it is worth asking again at once.")]
