"""Query parameters of the account routes."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BeforeValidator, Field

from gateway.http.query_parameters import Query, integer
from shared.domain.account import USER_NAME

MAX_ACCOUNTS_PAGE: Final = 1000

_AccountsLimit = Annotated[int, Field(ge=1, le=MAX_ACCOUNTS_PAGE)]


class AccountsQuery(Query):
    """Query parameters for a page of accounts."""

    limit: Annotated[
        _AccountsLimit,
        BeforeValidator(integer, json_schema_input_type=_AccountsLimit),
        Field(description="Accounts on a page at the most.", examples=[100]),
    ] = 100
    cursor: Annotated[
        Annotated[str, Field(pattern=f"^{USER_NAME.pattern}$")] | None,
        Field(
            description="The `next_cursor` of the page before; leave it out for the first page.",
            examples=["ada"],
        ),
    ] = None
