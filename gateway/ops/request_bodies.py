"""Request bodies of the operations API, as models."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from gateway.http.times import Time
from gateway.http.validation import RequestBody
from gateway.ops.query_parameters import ECG_ID_PATTERN, OwnerText, ReasonText, without_nul
from shared.ports.operators.operations import Selection

# A request that replays more would outlast the patience of proxies; `isoline replay` has no limit.
MAX_REPLAYED: Final = 100_000
_MAX_WHY_LENGTH: Final = 1000
_MAX_LETTERS: Final = 1000


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("why", "expected a reason, which is kept with your name")
    return text


_Why = Annotated[
    str,
    Field(
        max_length=_MAX_WHY_LENGTH,
        description="Kept in the audit, with your name.",
        json_schema_extra={"pattern": r"^[^\u0000]*\S[^\u0000]*$"},
    ),
    AfterValidator(without_nul),
    AfterValidator(_not_blank),
]


_ABSENT: Final[Any] = None


class FilterBody(RequestBody):
    """The conditions on finished ECGs, at least one, in the words of the list's query."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    status: Literal["failed"] = _ABSENT
    owner: OwnerText = ""
    id: Annotated[str, Field(pattern=ECG_ID_PATTERN)] = ""
    reason: ReasonText = ""
    since: Time = _ABSENT
    until: Time = _ABSENT

    @property
    def selection(self) -> Selection:
        """The conditions as the use cases take them."""
        return Selection(
            id=self.id or None,
            owner=self.owner or None,
            failed=self.status == "failed",
            reason=self.reason or None,
            since=self.since,
            until=self.until,
        )

    @model_validator(mode="after")
    def _check_condition(self) -> FilterBody:
        if self.selection.is_empty:
            raise PydanticCustomError("filter", "expected one condition or more")
        return self


class ReplayBody(RequestBody):
    """ECGs to replay, as many as were confirmed."""

    filter: FilterBody
    expected: Annotated[
        int, Field(ge=0, le=MAX_REPLAYED, description="How many ECGs you were shown and agreed to replay.")
    ]
    reason: _Why


class LettersBody(RequestBody):
    """Dead letters by their names."""

    names: Annotated[
        list[Annotated[str, Field(pattern="^[0-9a-f]{12}$")]], Field(min_length=1, max_length=_MAX_LETTERS)
    ]
    reason: _Why


class IntakeBody(RequestBody):
    """What the intake of the processors is to be."""

    state: Literal["running", "paused"]
    reason: _Why
