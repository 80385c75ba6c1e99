"""Response bodies of the API key routes, as models for the contract."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from gateway.http.validation import ResponseBody


class ApiKeyResponse(ResponseBody):
    """An API key, without its secret."""

    id: Annotated[UUID, Field(description="By which it is revoked.")]
    user: Annotated[str, Field(description="The account that it acts for.")]
    name: str
    prefix: Annotated[str, Field(description="The beginning of the key, to recognize it by.")]
    roles: Annotated[
        list[Literal["user", "operator", "observer", "subscriber"]],
        Field(description="Those that it was given and its account still has."),
    ]
    created_at: datetime
    expires_at: Annotated[datetime | None, Field(description="Null if it does not expire.")]
    last_used_at: Annotated[
        datetime | None,
        Field(description="Late by a few minutes at the most; null if it was never used."),
    ]


class NewApiKeyResponse(ApiKeyResponse):
    """A new API key with its secret, which is shown only now."""

    key: Annotated[
        str,
        Field(
            pattern="^isk_[0-9A-Za-z]{46}$",
            description="Send it as `Authorization: Bearer`. It is not kept, and can't be shown again.",
        ),
    ]


class ApiKeysResponse(ResponseBody):
    """The API keys of an account, the newest first."""

    keys: list[ApiKeyResponse]
