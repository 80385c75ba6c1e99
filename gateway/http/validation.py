"""Validation of request bodies by models: reports all problems at once, and repeats no value."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from gateway.http.problems import unprocessable_body
from shared.domain.errors import Problem

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# Far more than any body has; each unknown field would become a line in the response.
MAX_FIELDS: Final = 32
TOO_MANY_FIELDS: Final = Problem("", f"an object here has more than {MAX_FIELDS} fields")

_SENTENCES: Final = {
    "missing": "this field is required",
    "extra_forbidden": "this field is not known here",
    "model_type": "expected an object",
    "model_attributes_type": "expected an object",
    "string_too_short": "expected at least {min_length} character(s)",
    "string_too_long": "expected at most {max_length} characters",
    "string_pattern_mismatch": "expected a text that matches {pattern}",
    "too_short": "expected {min_length} or more, found {actual_length}",
    "too_long": "expected {max_length} or fewer, found {actual_length}",
}
_JSON_TYPES: Final = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a number with a fraction or past 64 bits",
    str: "a string",
    list: "an array",
    dict: "an object",
}

_M = TypeVar("_M", bound=BaseModel)


class RequestBody(BaseModel):
    """Base of all request bodies: an object of known fields and exact types."""

    model_config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True, frozen=True)


def schema_name(model_name: str) -> str:
    """The name of a model's schema in the contract; generated clients name their classes by it."""
    return re.sub("Response$", "Answer", model_name)  # as in release 0.1.0


class ResponseBody(BaseModel):
    """Base of all JSON response bodies: an object of known fields."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, model_title_generator=lambda model: schema_name(model.__name__)
    )


def validate(model: type[_M], document: object, context: object) -> tuple[_M | None, list[Problem]]:
    """The document as a model, or all its problems; they repeat no value of it."""
    try:
        return model.model_validate(document, context=context), []
    except ValidationError as error:
        return None, [_problem(found) for found in error.errors(include_url=False)]


def parse_body(model: type[_M], document: object, context: object) -> _M:
    """The document as a model.

    Raises:
        ProblemError: 422 with all its problems.
    """
    if has_too_many_fields(document):
        raise unprocessable_body([TOO_MANY_FIELDS])
    body, problems = validate(model, document, context)
    if body is None:
        raise unprocessable_body(problems)
    return body


def has_too_many_fields(value: object) -> bool:
    """Whether this is an object of more fields than any model has."""
    return isinstance(value, dict) and len(value) > MAX_FIELDS


def json_type(value: object) -> str:
    """The JSON type of a value, in words; a class of ours that represents JSON names it in ``JSON_TYPE``."""
    of_ours: str = getattr(value, "JSON_TYPE", "something else")
    return _JSON_TYPES.get(type(value), of_ours)


def _problem(found: ErrorDetails) -> Problem:
    """A pydantic error with a JSON pointer, and with the type of the value but never the value."""
    context = found.get("ctx", {})
    path = [*found["loc"], *([context["index"]] if "index" in context else [])]
    pointer = "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)
    sentence = _SENTENCES.get(found["type"], "").format_map(context) or found["msg"]
    sentence = re.sub("^Input should be (?=greater|less)", "expected a number ", sentence)
    sentence = sentence.replace("Input should be", "expected")
    is_of_wrong_type = found["type"].endswith(("_type", "_parsing"))
    return Problem(pointer, sentence + (f", found {json_type(found['input'])}" if is_of_wrong_type else ""))
