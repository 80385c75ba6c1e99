"""Accounts and their roles."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

USER_NAME: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")
# HTTP clients remove these from a path, so that such an account could be neither changed nor deleted.
RESERVED_NAMES: Final = (".", "..")


class Role(StrEnum):
    """What an account may do.

    ``user`` submits and reads its own ECGs, ``admin`` administers accounts, ``observer`` reads the state of
    the installation, ``operator`` acts on it too, and ``subscriber`` reads the events of all owners.
    """

    USER = "user"
    ADMIN = "admin"
    OPERATOR = "operator"
    OBSERVER = "observer"
    SUBSCRIBER = "subscriber"


@dataclass(frozen=True, slots=True)
class Account:
    """A submitter or an administrator.

    Attributes:
        name: Unique; matches `USER_NAME`. Only an account of an early release may have one of
            `RESERVED_NAMES`.
        password_hash: Argon2id in PHC form, kept out of ``repr``.
        roles: At least one.
        version: Counts up with every change of password or roles, which ends the tokens issued before.
    """

    name: str
    password_hash: str
    roles: frozenset[Role]
    version: int = 1

    def __repr__(self) -> str:
        return f"Account({self.name!r}, {sorted(self.roles)})"
