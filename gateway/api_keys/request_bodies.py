"""Request bodies of the API key routes, as models."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from gateway.api_keys.use_cases import MAX_LIFETIME_DAYS
from gateway.http.validation import RequestBody, parse_body
from shared.domain.account import USER_NAME
from shared.domain.api_key import KEY_NAME, KEY_ROLES

_ABSENT: Final[Any] = None


class ApiKeyBody(RequestBody):
    """An API key to create."""

    name: Annotated[str, Field(pattern=f"^{KEY_NAME.pattern}$", description="What or whom it is for.")]
    roles: Annotated[
        list[Literal["user", "operator", "observer", "subscriber"]],
        Field(
            min_length=1, max_length=len(KEY_ROLES), description="What it may do: roles that its account has."
        ),
    ]
    expires_in_days: Annotated[
        int,
        Field(
            ge=1,
            le=MAX_LIFETIME_DAYS,
            description="Days until it expires; without, it does not.",
        ),
    ] = _ABSENT
    user: Annotated[
        str,
        Field(
            pattern=f"^{USER_NAME.pattern}$",
            description="Its account; without, your own. Another's needs the role admin.",
        ),
    ] = _ABSENT


def read_api_key(document: object) -> ApiKeyBody:
    """The API key that a body describes.

    Raises:
        ProblemError: 422 with all that is wrong.
    """
    return parse_body(ApiKeyBody, document, None)
