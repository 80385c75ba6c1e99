"""The caller of a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    from shared.domain.account import Role


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated sender of a request.

    Attributes:
        name: The owner's name of their ECGs: an account's name, or an external subject's URI.
        version: The account's when the token was issued; None if another issuer keeps the account.
        key_id: Of the API key by which they were authenticated; None if it was by an access token.
    """

    name: str
    roles: frozenset[Role]
    version: int | None = None
    key_id: UUID | None = None
