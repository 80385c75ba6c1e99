"""Logins: begun with a password, refreshed with refresh tokens that are rotated at each use."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID, uuid4

from shared.ports.logins import Login

if TYPE_CHECKING:
    from shared.domain.account import Account
    from shared.ports.logins import LoginStore

_ID_BYTES: Final = 16
_SECRET_BYTES: Final = 32
MAX_REFRESH_TOKEN_LENGTH: Final = 64  # id and secret in base64


class LoginGrant(NamedTuple):
    """The account of a login, and its next refresh token."""

    account: Account
    refresh_token: str


async def begin_login(account: Account, *, lifetime_s: int, logins: LoginStore) -> LoginGrant:
    """Begin a login of an authenticated account.

    Raises:
        UnavailableError: It may have begun; beginning another does no harm.
    """
    login_id, secret = uuid4(), secrets.token_bytes(_SECRET_BYTES)
    await logins.add(Login(login_id, account, _hash(secret), lifetime_s))
    return LoginGrant(account, _token(login_id, secret))


async def refresh_login(refresh_token: str, *, logins: LoginStore) -> LoginGrant | None:
    """Spend a refresh token for the next one; None if it is not valid.

    Reuse of a spent token revokes its login: one of its two users has stolen it. So does any other token that
    names the login and is not the valid one.

    Raises:
        UnavailableError: It may have been spent. If it was spent before, its login may not have ended yet:
            trying again ends it.
    """
    split = _split_token(refresh_token)
    if split is None:
        return None
    login_id, spent = split
    new = secrets.token_bytes(_SECRET_BYTES)
    account = await logins.rotate(login_id, spent=_hash(spent), fresh=_hash(new))
    if account is None:
        await logins.end(login_id)
        return None
    return LoginGrant(account, _token(login_id, new))


async def revoke_login(refresh_token: str, *, logins: LoginStore) -> None:
    """Revoke the login of a refresh token, spent or not; an invalid token changes nothing."""
    split = _split_token(refresh_token)
    if split is not None:
        await logins.end(split[0])


def _token(login_id: UUID, secret: bytes) -> str:
    return base64.urlsafe_b64encode(login_id.bytes + secret).decode()


def _split_token(token: str) -> tuple[UUID, bytes] | None:
    if len(token) != MAX_REFRESH_TOKEN_LENGTH:
        return None
    try:
        content = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return UUID(bytes=content[:_ID_BYTES]), content[_ID_BYTES:]


def _hash(secret: bytes) -> bytes:
    """256 random bits can't be guessed, and need no slow hash."""
    return hashlib.sha256(secret).digest()
