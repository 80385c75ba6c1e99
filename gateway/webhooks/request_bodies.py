"""Request bodies of the webhook routes, as models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from gateway.events.query_parameters import LATEST, TYPES, LogCursor
from gateway.http.times import Time
from gateway.http.validation import RequestBody, parse_body
from shared.egress import MAX_URL_LENGTH, EgressRules

if TYPE_CHECKING:
    from typing import Self

MAX_DESCRIPTION_LENGTH: Final = 200

_ABSENT: Final[Any] = None
_ALL_TYPES: Final[Any] = tuple(type_.value for type_ in TYPES)


def _allowed_url(url: str, info: ValidationInfo) -> str:
    """The URL in the form in which it is kept; the context has the rules."""
    rules = info.context
    if not isinstance(rules, EgressRules):
        raise TypeError("no rules to judge a URL by")
    try:
        return rules.checked_url(url)
    except ValueError as error:
        raise PydanticCustomError("webhook_url", "{reason}", {"reason": str(error)}) from None


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


def read_new_webhook(document: object, rules: EgressRules) -> NewWebhookBody:
    """The webhook that a body describes, with its URL as it is kept.

    Raises:
        ProblemError: 422 with all that is wrong.
    """
    return parse_body(NewWebhookBody, document, rules)


def read_webhook_change(document: object, rules: EgressRules) -> WebhookChangeBody:
    """The change that a body describes.

    Raises:
        ProblemError: 422 with all that is wrong.
    """
    return parse_body(WebhookChangeBody, document, rules)
