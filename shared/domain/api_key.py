"""API keys: secrets by which services and devices act for an account without its password."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shared.domain.account import Role

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

# An administrator logs in: a key can't administer accounts, so that a stolen one can't make itself another.
KEY_ROLES: Final = frozenset(Role) - {Role.ADMIN}

# No control characters, for lists and terminals, and no space in front.
KEY_NAME: Final = re.compile(r"[^\x00-\x20\x7f-\x9f][^\x00-\x1f\x7f-\x9f]{0,63}")

_BEGINNING: Final = "isk_"
_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_LENGTH: Final = 40  # 238 bits
_CHECKSUM_LENGTH: Final = 6  # 62^6 is more than 2^32
# 8 of the random characters: enough to tell keys apart, and 190 bits stay secret.
_SHOWN_LENGTH: Final = len(_BEGINNING) + 8
_FORM: Final = re.compile(rf"{_BEGINNING}[0-9A-Za-z]{{{_RANDOM_LENGTH + _CHECKSUM_LENGTH}}}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret.

    Attributes:
        account: The name of the account that it acts for.
        name: What its owner calls it.
        prefix: The beginning of the secret, by which its owner recognizes it.
        roles: What it may do now: those that it was given and its account still has.
        expires_at: None if it does not expire.
        last_used_at: Late by a few minutes at the most; None if it was never used.
    """

    id: UUID
    account: str
    name: str
    prefix: str
    roles: frozenset[Role]
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None


def new_secret() -> str:
    """A new secret: ``isk_``, 40 random characters, and 6 of a checksum.

    Secret scanners find it by its beginning, and tell it from other text by its checksum.
    """
    content = _BEGINNING + "".join(secrets.choice(_DIGITS) for _ in range(_RANDOM_LENGTH))
    return content + _checksum(content)


def is_secret(text: str) -> bool:
    """Whether the text may be the secret of a key: it has the form and the checksum of one."""
    if _FORM.fullmatch(text) is None:
        return False
    return text.endswith(_checksum(text[:-_CHECKSUM_LENGTH]))


def looks_like_secret(text: str) -> bool:
    """Whether the text begins as secrets of keys do, and as no access token does."""
    return text.startswith(_BEGINNING)


def hash_secret(secret: str) -> bytes:
    """What is stored of a secret: 238 random bits can't be guessed, and need no slow hash."""
    return hashlib.sha256(secret.encode()).digest()


def shown_prefix(secret: str) -> str:
    """The beginning of a secret that may be shown."""
    return secret[:_SHOWN_LENGTH]


def _checksum(content: str) -> str:
    """The CRC-32 of a text in base 62."""
    number, digits = zlib.crc32(content.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits
