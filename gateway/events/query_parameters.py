"""Query parameters of `GET /events`."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from gateway.events.cursors import MAX_LENGTH, decode_cursor
from gateway.http.query_parameters import Query, integer
from gateway.http.times import Time
from shared.events import EventType

MAX_PAGE: Final = 1000
LATEST: Final = "latest"
"""In the place of a cursor: only what happens from now on."""
TYPES: Final = (EventType.PROCESSED, EventType.FAILED, EventType.DELETED)
"""What the log has; `ecg.submitted` is for the processors."""

_Limit = Annotated[int, Field(ge=1, le=MAX_PAGE)]


def _valid_cursor(cursor: str) -> str:
    if cursor != LATEST and decode_cursor(cursor) is None:
        raise PydanticCustomError("cursor", f"expected a cursor of an earlier answer, or {LATEST}")
    return cursor


LogCursor = Annotated[
    str,
    Field(max_length=MAX_LENGTH, json_schema_extra={"format": "isoline-log-cursor"}),
    AfterValidator(_valid_cursor),
]


def _types(text: object) -> frozenset[EventType]:
    named = text.split(",") if isinstance(text, str) else []
    if not named or not set(named) <= set(TYPES):
        raise PydanticCustomError("types", f"expected some of {', '.join(TYPES)}, with commas between them")
    return frozenset(map(EventType, named))


_TypesText = Annotated[
    str, Field(pattern=r"^ecg\.(processed|failed|deleted)(,ecg\.(processed|failed|deleted)){0,8}$")
]


class EventsQuery(Query):
    """Which events, and from where on."""

    after: Annotated[
        LogCursor | None,
        Field(
            description=(
                "The `cursor` of the answer before; `latest` for what happens from now on; left out, the "
                "oldest that is kept comes first."
            ),
            examples=["Wzc0MSwyMTQ3NDgzNjQ3XQ"],
        ),
    ] = None
    since: Annotated[
        Time | None,
        Field(description="Nothing that was logged before.", examples=["2026-01-31T08:00:00Z"]),
    ] = None
    types: Annotated[
        frozenset[EventType],
        BeforeValidator(_types, json_schema_input_type=_TypesText),
        Field(
            description="What happened, with commas between them; all types if left out.",
            examples=["ecg.processed,ecg.deleted"],
        ),
    ] = frozenset(TYPES)
    limit: Annotated[
        _Limit,
        BeforeValidator(integer, json_schema_input_type=_Limit),
        Field(description="Events of an answer at the most.", examples=[100]),
    ] = 100
