"""The caller of a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.domain.account import Role


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated sender of a request.

    Attributes:
        name: The owner's name of their ECGs: an account's name, or an external subject's URI.
        version: The account's when the token was issued; None if another issuer keeps the account.
    """

    name: str
    roles: frozenset[Role]
    version: int | None = None
