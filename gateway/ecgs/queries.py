"""What clients ask about ECGs behind the question mark, and the cursors of their pages."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from gateway.formats.fields import ECG_ID
from gateway.http.query import Query, integer, number
from shared.ports.owned_ecgs import Place

MAX_WAIT_S: Final = 30
MAX_PAGE: Final = 100

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MAX_CURSOR_LENGTH: Final = 256

_Wait = Annotated[float, Field(ge=0, le=MAX_WAIT_S)]
_Limit = Annotated[int, Field(ge=1, le=MAX_PAGE)]


def _readable(cursor: str) -> str:
    if place_of(cursor) is None:
        raise PydanticCustomError("cursor", "expected the next_cursor of an earlier page")
    return cursor


class EcgQuery(Query):
    """How to ask for one ECG."""

    wait: Annotated[
        _Wait,
        BeforeValidator(number, json_schema_input_type=_Wait),
        Field(
            description=(
                "Answer when the ECG is completed or failed and no analysis of it is queued, after so many "
                "seconds at the latest."
            ),
            examples=[10],
        ),
    ] = 0.0


class EcgsQuery(Query):
    """How to ask for a page of ECGs."""

    limit: Annotated[
        _Limit,
        BeforeValidator(integer, json_schema_input_type=_Limit),
        Field(description="ECGs on a page at the most.", examples=[20]),
    ] = 20
    cursor: Annotated[
        Annotated[
            str,
            Field(max_length=_MAX_CURSOR_LENGTH, json_schema_extra={"format": "isoline-cursor"}),
            AfterValidator(_readable),
        ]
        | None,
        Field(
            description="The `next_cursor` of the page before; leave it out for the first page.",
            examples=["WzE3NTM4NjI0MDAwMDAwMDAsIjEwIl0"],
        ),
    ] = None
    status: Annotated[
        Literal["queued", "completed", "failed"] | None,
        Field(
            description="Only ECGs of this status; those that are analysed again are with the queued ones.",
            examples=["completed"],
        ),
    ] = None


def cursor_of(place: Place) -> str:
    """A place in a list as a word for clients, who need not know what it means."""
    microseconds = (place.submitted_at - _EPOCH) // _MICROSECOND
    return base64.urlsafe_b64encode(orjson.dumps([microseconds, place.id])).rstrip(b"=").decode()


def place_of(cursor: str) -> Place | None:
    """The place that `cursor_of` made the word of; None when it made no such word."""
    try:
        microseconds, ecg_id = _unpacked(cursor)
        submitted_at = _EPOCH + microseconds * _MICROSECOND
    except (ValueError, TypeError, OverflowError):
        return None
    is_place = type(microseconds) is int and isinstance(ecg_id, str) and ECG_ID.fullmatch(ecg_id)
    return Place(submitted_at, ecg_id) if is_place else None


def _unpacked(cursor: str) -> Any:
    try:
        return orjson.loads(
            base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        )
    except binascii.Error as error:
        raise ValueError(cursor) from error
