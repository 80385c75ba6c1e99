"""Times in queries and bodies of operators."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError


def read_time(text: object) -> datetime:
    """A time in ISO 8601, in UTC where it names no offset, for ``BeforeValidator``.

    Raises:
        PydanticCustomError: It is none, or one that UTC has no year for.
    """
    try:
        time = datetime.fromisoformat(text) if isinstance(text, str) else None
        if time is not None:
            time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        time = None
    if time is None:
        raise PydanticCustomError("time", "expected a time such as 2026-01-31T08:00:00Z")
    return time


Time: TypeAlias = Annotated[
    datetime,
    BeforeValidator(
        read_time,
        json_schema_input_type=Annotated[str, Field(json_schema_extra={"format": "date-time"})],
    ),
]
