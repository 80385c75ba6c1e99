"""Query parameters of the API key routes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.http.query_parameters import Query
from shared.domain.account import USER_NAME


class ApiKeysQuery(Query):
    """Whose API keys to list."""

    user: Annotated[
        Annotated[str, Field(pattern=f"^{USER_NAME.pattern}$")] | None,
        Field(
            description="The account; without, your own. Another's needs the role admin.", examples=["ada"]
        ),
    ] = None
