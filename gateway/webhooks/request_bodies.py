"""Request bodies of the webhook routes, as models."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from gateway.events.query_parameters import LATEST, TYPES, LogCursor
from gateway.http.times import Time
from gateway.http.validation import RequestBody, parse_body
from shared.egress import MAX_URL_LENGTH, EgressRules

if TYPE_CHECKING:
    from typing import Self

MAX_DESCRIPTION_LENGTH: Final = 200

# Clocks of a sender and of a gateway differ by seconds.
_CLOCK_TOLERANCE: Final = timedelta(minutes=1)
_ABSENT: Final[Any] = None
_ALL_TYPES: Final[Any] = tuple(type_.value for type_ in TYPES)


class _Context(NamedTuple):
    """By what a body is judged."""

    rules: EgressRules
    now: datetime


def _allowed_url(url: str, info: ValidationInfo) -> str:
    """The URL in the form in which it is kept."""
    try:
        return _context(info).rules.checked_url(url)
    except ValueError as error:
        raise PydanticCustomError("webhook_url", "{reason}", {"reason": str(error)}) from None


def _past(time: datetime, info: ValidationInfo) -> datetime:
    """The time; one to come would be forgotten once the webhook has a place in the log."""
    if time > _context(info).now + _CLOCK_TOLERANCE:
        raise PydanticCustomError("time_ahead", "expected a time that has been")
    return time


def _context(info: ValidationInfo) -> _Context:
    if not isinstance(info.context, _Context):
        raise TypeError("nothing to judge a body by")
    return info.context


def _without_repetition(types: list[str]) -> list[str]:
    if len(set(types)) < len(types):
        raise PydanticCustomError("repeated", "expected each type once")
    return types


_Url = Annotated[
    str,
    Field(
        max_length=MAX_URL_LENGTH,
        json_schema_extra={"format": "uri", "pattern": "^https?://"},
        description=(
            "To which events are sent: `https`, and no private address, unless `ISOLINE_WEBHOOK_NETWORKS` "
            "allows it."
        ),
    ),
    AfterValidator(_allowed_url),
]
_Types = Annotated[
    list[Literal["ecg.processed", "ecg.failed", "ecg.deleted"]],
    Field(min_length=1, max_length=len(TYPES), json_schema_extra={"uniqueItems": True}),
    AfterValidator(_without_repetition),
]
_Description = Annotated[
    str,
    Field(
        max_length=MAX_DESCRIPTION_LENGTH,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]*$",  # for lists and terminals
        description="What it is for.",
    ),
]


class NewWebhookBody(RequestBody):
    """A webhook to create."""

    url: _Url
    types: Annotated[_Types, Field(description="Events that it sends; without, of all types.")] = _ALL_TYPES
    description: _Description = ""
    all_owners: Annotated[
        bool,
        Field(description="Send the events of all owners; needs the role subscriber. It can't be changed."),
    ] = False
    after: Annotated[
        LogCursor,
        Field(
            description=(
                "A `cursor` of `GET /events`: what follows is sent. Without, or `latest`: what happens from "
                "now on."
            )
        ),
    ] = LATEST
    since: Annotated[
        Time,
        Field(description="In place of `after`: what was logged from then on, as far as it is kept."),
        AfterValidator(_past),
    ] = _ABSENT

    @model_validator(mode="after")
    def _check_one_start(self) -> Self:
        if {"after", "since"} <= self.model_fields_set:
            raise PydanticCustomError("two_starts", "expected after or since, found both")
        return self


class WebhookChangeBody(RequestBody):
    """What to change of a webhook; what is not there stays as it is."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    url: _Url = _ABSENT
    types: Annotated[_Types, Field(description="Events that it sends.")] = _ABSENT
    description: _Description = _ABSENT
    enabled: Annotated[
        bool,
        Field(
            description=(
                "False: it sends nothing until it is enabled. True: it sends at once, also after it was "
                "disabled, and what waits is tried for another day."
            )
        ),
    ] = _ABSENT

    @model_validator(mode="after")
    def _check_one_change(self) -> Self:
        if not self.model_fields_set:
            raise PydanticCustomError("no_change", "expected url, types, description or enabled, found none")
        return self


def read_new_webhook(document: object, rules: EgressRules, *, now: datetime) -> NewWebhookBody:
    """The webhook that a body describes, with its URL as it is kept.

    Raises:
        ProblemError: 422 with all that is wrong.
    """
    return parse_body(NewWebhookBody, document, _Context(rules, now))


def read_webhook_change(document: object, rules: EgressRules, *, now: datetime) -> WebhookChangeBody:
    """The change that a body describes.

    Raises:
        ProblemError: 422 with all that is wrong.
    """
    return parse_body(WebhookChangeBody, document, _Context(rules, now))
