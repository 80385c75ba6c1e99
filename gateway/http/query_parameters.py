"""Query parameters as models; an invalid query is a 400 that says what is wrong."""

from __future__ import annotations

import base64
import re
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import orjson
from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

from gateway.http.problems import ProblemError
from gateway.http.validation import validate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yarl import URL

# Far more than any route has; the time to find repeated ones grows with the square of their number.
_MAX_PARAMETERS: Final = 32
_INTEGER: Final = re.compile(r"-?[0-9]{1,9}")
_NUMBER: Final = re.compile(r"-?[0-9]{1,9}(\.[0-9]{0,20})?([eE][+-]?[0-9]{1,3})?")


class Query(BaseModel):
    """Base of all query models: unknown parameters are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_Q = TypeVar("_Q", bound=Query)


def read_query(model: type[_Q], url: URL) -> _Q:
    """The query of a URL as a model.

    Raises:
        ProblemError: 400 with all that is wrong, in a sentence.
    """
    if not url.raw_query_string:
        return cast("_Q", _default_query(model))
    if url.raw_query_string.count("&") >= _MAX_PARAMETERS:
        raise _bad_query(f"expected {_MAX_PARAMETERS} parameters or fewer")
    query = url.query
    repeated = sorted({name for name in query if len(query.getall(name)) > 1})
    if repeated:
        raise _bad_query(f"{repeated[0][:64]}: expected it once")
    read, problems = validate(model, dict(query), None)
    if read is None:
        raise _bad_query("; ".join(f"{pointer[1:65]}: {detail}" for pointer, detail in problems[:5]))
    return read


def encode_opaque(values: Sequence[int | str]) -> str:
    """Values as a text that clients send back and need not understand, as in a cursor."""
    return base64.urlsafe_b64encode(orjson.dumps([*values])).rstrip(b"=").decode()


def decode_opaque(text: str) -> Any:
    """What `encode_opaque` encoded, or any other JSON value.

    Raises:
        ValueError: The text is none of its kind.
    """
    return orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))


def integer(text: object) -> int:
    """A parameter as an integer, for ``BeforeValidator``."""
    if not isinstance(text, str) or not _INTEGER.fullmatch(text):
        raise PydanticCustomError("integer", "expected an integer")
    return int(text)


def number(text: object) -> float:
    """A parameter as a number, for ``BeforeValidator``."""
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise PydanticCustomError("number", "expected a number")
    return float(text)


@cache
def _default_query(model: type[BaseModel]) -> BaseModel:
    return model()


def _bad_query(detail: str) -> ProblemError:
    return ProblemError(HTTPStatus.BAD_REQUEST, f"The query does not fit: {detail}.")
