"""What clients ask for behind the question mark, as models that say what is wrong with it."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar, cast

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from gateway.ecg_fields import ECG_ID
from gateway.problems import ProblemError
from gateway.validation import validated
from shared.domain.account import USER_NAME
from shared.ports import Place

if TYPE_CHECKING:
    from yarl import URL

MAX_WAIT_S: Final = 30
MAX_PAGE: Final = 100
MAX_ACCOUNTS_PAGE: Final = 1000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MAX_CURSOR_LENGTH: Final = 256
# Far more than any path takes; the time for finding those that repeat grows as the square of them.
_MAX_PARAMETERS: Final = 32
_INTEGER: Final = re.compile(r"-?[0-9]{1,9}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,9}(\.[0-9]{0,20})?([eE][+-]?[0-9]{1,3})?")

_Q = TypeVar("_Q", bound=BaseModel)


_Wait = Annotated[float, Field(ge=0, le=MAX_WAIT_S)]
_Limit = Annotated[int, Field(ge=1, le=MAX_PAGE)]
_AccountsLimit = Annotated[int, Field(ge=1, le=MAX_ACCOUNTS_PAGE)]


def _integer(text: object) -> int:
    if not isinstance(text, str) or not _INTEGER.fullmatch(text):
        raise PydanticCustomError("integer", "expected an integer")
    return int(text)


def _number(text: object) -> float:
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise PydanticCustomError("number", "expected a number")
    return float(text)


def _readable(cursor: str) -> str:
    if place_of(cursor) is None:
        raise PydanticCustomError("cursor", "expected the next_cursor of an earlier page")
    return cursor


class _Query(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EcgQuery(_Query):
    """How to ask for one ECG."""

    wait: Annotated[
        _Wait,
        BeforeValidator(_number, json_schema_input_type=_Wait),
        Field(
            description="Answer when the ECG is completed or failed, after so many seconds at the latest.",
            examples=[10],
        ),
    ] = 0.0


class EcgsQuery(_Query):
    """How to ask for a page of ECGs."""

    limit: Annotated[
        _Limit,
        BeforeValidator(_integer, json_schema_input_type=_Limit),
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
        Field(description="Only ECGs of this status.", examples=["completed"]),
    ] = None


class AccountsQuery(_Query):
    """How to ask for a page of accounts."""

    limit: Annotated[
        _AccountsLimit,
        BeforeValidator(_integer, json_schema_input_type=_AccountsLimit),
        Field(description="Accounts on a page at the most.", examples=[100]),
    ] = 100
    cursor: Annotated[
        Annotated[str, Field(pattern=f"^{USER_NAME.pattern}$")] | None,
        Field(
            description="The `next_cursor` of the page before; leave it out for the first page.",
            examples=["ada"],
        ),
    ] = None


def read_query(model: type[_Q], url: URL) -> _Q:
    """The query of a URL as a model.

    Raises:
        ProblemError: 400 with all that is wrong, in a sentence.
    """
    if not url.raw_query_string:
        return cast("_Q", _asked_for_nothing(model))
    if url.raw_query_string.count("&") >= _MAX_PARAMETERS:
        raise _bad_query(f"expected {_MAX_PARAMETERS} parameters or fewer")
    query = url.query
    repeated = sorted({name for name in query if len(query.getall(name)) > 1})
    if repeated:
        raise _bad_query(f"{repeated[0][:64]}: expected it once")
    read, problems = validated(model, dict(query), None)
    if read is None:
        raise _bad_query("; ".join(f"{pointer[1:65]}: {detail}" for pointer, detail in problems[:5]))
    return read


@cache
def _asked_for_nothing(model: type[BaseModel]) -> BaseModel:
    return model()


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


def _bad_query(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.BAD_REQUEST, f"The query does not fit: {detail}.")
