"""Query parameters of the ECG routes, and the cursors of pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from gateway.formats.fields import ECG_ID
from gateway.http.query_parameters import Query, decode_opaque, encode_opaque, integer, number
from shared.ports.owned_ecgs import PagePosition

MAX_WAIT_S: Final = 30
MAX_PAGE: Final = 100

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MAX_CURSOR_LENGTH: Final = 256

_Wait = Annotated[float, Field(ge=0, le=MAX_WAIT_S)]
_Limit = Annotated[int, Field(ge=1, le=MAX_PAGE)]


def _valid_cursor(cursor: str) -> str:
    if decode_cursor(cursor) is None:
        raise PydanticCustomError("cursor", "expected the next_cursor of an earlier page")
    return cursor


class EcgQuery(Query):
    """Query parameters for one ECG."""

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
    """Query parameters for a page of ECGs."""

    limit: Annotated[
        _Limit,
        BeforeValidator(integer, json_schema_input_type=_Limit),
        Field(description="ECGs on a page at the most.", examples=[20]),
    ] = 20
    cursor: Annotated[
        Annotated[
            str,
            Field(max_length=_MAX_CURSOR_LENGTH, json_schema_extra={"format": "isoline-cursor"}),
            AfterValidator(_valid_cursor),
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


def encode_cursor(position: PagePosition) -> str:
    """An opaque cursor for a position in the list."""
    microseconds = (position.submitted_at - _EPOCH) // _MICROSECOND
    return encode_opaque([microseconds, position.id])


def decode_cursor(cursor: str) -> PagePosition | None:
    """The position that `encode_cursor` encoded; None if this is no such cursor."""
    try:
        microseconds, ecg_id = decode_opaque(cursor)
        submitted_at = _EPOCH + microseconds * _MICROSECOND
    except (ValueError, TypeError, OverflowError):
        return None
    is_position = type(microseconds) is int and isinstance(ecg_id, str) and ECG_ID.fullmatch(ecg_id)
    return PagePosition(submitted_at, ecg_id) if is_position else None
