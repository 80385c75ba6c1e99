"""Response bodies of the health routes, as models for the contract."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from gateway.http.validation import ResponseBody


class LiveResponse(ResponseBody):
    """The process is alive."""

    status: Literal["live"]


class PartResponse(ResponseBody):
    """The state of a part that the service needs."""

    state: Annotated[
        Literal["ok", "degraded", "failing"],
        Field(description="With a part that is degraded requests should come here all the same."),
    ]
    since: Annotated[datetime, Field(description="Since when it works, or does not.")]
    reason: Annotated[str, Field(description="Why it does not work. Unless ok.")] = ""
    means: Annotated[str, Field(description="What that means for users. Unless ok.")] = ""


class ReadyResponse(ResponseBody):
    """Whether requests should be sent here, and if not, why."""

    status: Literal["ready", "not ready"]
    reasons: Annotated[dict[str, str], Field(description="Why not, by part.")] = {}
    parts: Annotated[dict[str, PartResponse], Field(description="What the service needs, by name.")] = {}
