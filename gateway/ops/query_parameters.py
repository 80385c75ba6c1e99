"""Query parameters of the operations API."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from gateway.http.query_parameters import Query, decode_opaque, encode_opaque, integer
from gateway.http.times import Time
from shared.ports.operators.finished_ecgs import FinishedPosition
from shared.ports.operators.operations import Selection

MAX_PAGE: Final = 500
MAX_OWNER_LENGTH: Final = 600  # of an account, or <issuer>#<sub>
MAX_REASON_LENGTH: Final = 1000
ECG_ID_PATTERN: Final = r"^[A-Za-z0-9._:-]{1,128}$"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MAX_CURSOR_LENGTH: Final = 256
_LAST_ROW: Final = 2**63

_Limit = Annotated[int, Field(ge=1, le=MAX_PAGE)]
_PageLimit = Annotated[
    _Limit,
    BeforeValidator(integer, json_schema_input_type=_Limit),
    Field(description="Of them on a page at the most.", examples=[50]),
]


def _valid_cursor(cursor: str) -> str:
    if decode_position(cursor) is None:
        raise PydanticCustomError("cursor", "expected the next_cursor of an earlier page")
    return cursor


def without_nul(text: str) -> str:
    """A text that PostgreSQL can hold, for ``AfterValidator``.

    Raises:
        PydanticCustomError: It has a U+0000.
    """
    if "\0" in text:
        raise PydanticCustomError("text", "expected a text without U+0000")
    return text


# The pattern says in the contract what the validator says to senders.
_WITHOUT_NUL: Final = {"pattern": "^[^\\u0000]*$"}
OwnerText = Annotated[
    str,
    Field(min_length=1, max_length=MAX_OWNER_LENGTH, json_schema_extra=_WITHOUT_NUL),
    AfterValidator(without_nul),
]
ReasonText = Annotated[
    str,
    Field(min_length=1, max_length=MAX_REASON_LENGTH, json_schema_extra=_WITHOUT_NUL),
    AfterValidator(without_nul),
]


class FilterQuery(Query):
    """The conditions on finished ECGs, those of ``isoline ops failed`` and ``isoline replay``."""

    status: Annotated[
        Literal["failed"] | None, Field(description="Only ECGs that failed.", examples=["failed"])
    ] = None
    owner: Annotated[
        OwnerText | None,
        Field(description="Only this owner's.", examples=["ada"]),
    ] = None
    id: Annotated[
        Annotated[str, Field(pattern=ECG_ID_PATTERN)] | None,
        Field(description="Only ECGs of this id.", examples=["10"]),
    ] = None
    reason: Annotated[
        ReasonText | None,
        Field(
            description="Only ECGs that failed for this reason, in the words of the list.",
            examples=["Given up after 5 attempts."],
        ),
    ] = None
    since: Annotated[
        Time | None,
        Field(description="Only what was finished then or later.", examples=["2026-01-31T08:00:00Z"]),
    ] = None
    until: Annotated[
        Time | None,
        Field(
            description="Only what was finished earlier. The `as_of` of a page, for what that page knew of.",
            examples=["2026-01-31T09:00:00Z"],
        ),
    ] = None

    @property
    def selection(self) -> Selection:
        """The conditions as the use cases take them."""
        return Selection(
            id=self.id,
            owner=self.owner,
            failed=self.status == "failed",
            reason=self.reason,
            since=self.since,
            until=self.until,
        )


class FinishedEcgsQuery(FilterQuery):
    """Query parameters for a page of finished ECGs."""

    limit: _PageLimit = 50
    cursor: Annotated[
        Annotated[
            str,
            Field(max_length=_MAX_CURSOR_LENGTH, json_schema_extra={"format": "isoline-finished-cursor"}),
            AfterValidator(_valid_cursor),
        ]
        | None,
        Field(
            description="The `next_cursor` of the page before; leave it out for the first page.",
            examples=["WzE3NTM4NjI0MDAwMDAwMDAsNDJd"],
        ),
    ] = None


class AuditQuery(Query):
    """Query parameters for a page of the audit."""

    limit: _PageLimit = 50
    cursor: Annotated[
        Annotated[str, Field(pattern="^[0-9]{1,18}$")] | None,
        Field(
            description="The `next_cursor` of the page before; leave it out for the first page.",
            examples=["42"],
        ),
    ] = None


def encode_position(position: FinishedPosition) -> str:
    """An opaque cursor for a position in the list."""
    microseconds = (position.finished_at - _EPOCH) // _MICROSECOND
    return encode_opaque([microseconds, position.row])


def decode_position(cursor: str) -> FinishedPosition | None:
    """The position that `encode_position` encoded; None if this is no such cursor."""
    try:
        microseconds, row = decode_opaque(cursor)
        finished_at = _EPOCH + microseconds * _MICROSECOND
    except (ValueError, TypeError, OverflowError):
        return None
    is_position = type(microseconds) is int and type(row) is int and abs(row) < _LAST_ROW
    return FinishedPosition(finished_at, row) if is_position else None
