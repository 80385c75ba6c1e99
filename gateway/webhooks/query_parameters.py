"""Query parameters of the webhook routes, and the cursors of pages."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from gateway.http.query_parameters import Query, decode_opaque, encode_opaque, integer

MAX_PAGE: Final = 100

_MAX_CURSOR_LENGTH: Final = 64
_MOST_ID: Final = 2**63

_Limit = Annotated[int, Field(ge=1, le=MAX_PAGE)]


def _valid_cursor(cursor: str) -> str:
    if decode_cursor(cursor) is None:
        raise PydanticCustomError("cursor", "expected the next_cursor of an earlier page")
    return cursor


class DeliveriesQuery(Query):
    """Query parameters for a page of deliveries."""

    state: Annotated[
        Literal["waiting", "delivered", "failed", "dropped"] | None,
        Field(description="Only deliveries in this state.", examples=["failed"]),
    ] = None
    limit: Annotated[
        _Limit,
        BeforeValidator(integer, json_schema_input_type=_Limit),
        Field(description="Deliveries on a page at the most.", examples=[20]),
    ] = 20
    cursor: Annotated[
        Annotated[
            str,
            Field(max_length=_MAX_CURSOR_LENGTH, json_schema_extra={"format": "isoline-delivery-cursor"}),
            AfterValidator(_valid_cursor),
        ]
        | None,
        Field(
            description="The `next_cursor` of the page before; leave it out for the first page.",
            examples=["WzE4MDJd"],
        ),
    ] = None


def encode_cursor(delivery_id: int) -> str:
    """An opaque cursor for the place behind a delivery in the list."""
    return encode_opaque([delivery_id])


def decode_cursor(cursor: str) -> int | None:
    """The delivery that `encode_cursor` encoded; None if this is no such cursor."""
    try:
        [delivery_id] = decode_opaque(cursor)
    except (ValueError, TypeError):
        return None
    return delivery_id if type(delivery_id) is int and 0 <= delivery_id < _MOST_ID else None
