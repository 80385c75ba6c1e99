"""Logins: begun with a password, continued with refresh tokens that are good for one use each."""

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
MAX_REFRESH_TOKEN_LENGTH: Final = 64  # what both are in base64


class Continued(NamedTuple):
    """Whose login goes on, and the refresh token for the next time."""

    account: Account
    refresh_token: str


async def begin_login(account: Account, *, lifetime_s: int, logins: LoginStore) -> Continued:
    """Begin a login of an account that has just proved itself.

    Raises:
        UnavailableError: It may have begun; beginning another does no harm.
    """
    login_id, secret = uuid4(), secrets.token_bytes(_SECRET_BYTES)
    await logins.add(Login(login_id, account, _hash(secret), lifetime_s))
    return Continued(account, _token(login_id, secret))


async def continue_login(refresh_token: str, *, logins: LoginStore) -> Continued | None:
    """Spend a refresh token for the next one; None when it is good for nothing.

    A token that was spent before ends its login: one of the two who used it has stolen it.

    Raises:
        UnavailableError: It may have been spent.
    """
    parts = _parts(refresh_token)
    if parts is None:
        return None
    login_id, spent = parts
    fresh = secrets.token_bytes(_SECRET_BYTES)
    account = await logins.rotate(login_id, spent=_hash(spent), fresh=_hash(fresh))
    return Continued(account, _token(login_id, fresh)) if account else None


async def end_login(refresh_token: str, *, logins: LoginStore) -> None:
    """No token of this login, spent or not, continues it any more; what is no token changes nothing."""
    parts = _parts(refresh_token)
    if parts is not None:
        await logins.end(parts[0])


def _token(login_id: UUID, secret: bytes) -> str:
    return base64.urlsafe_b64encode(login_id.bytes + secret).decode()


def _parts(token: str) -> tuple[UUID, bytes] | None:
    if len(token) != MAX_REFRESH_TOKEN_LENGTH:
        return None
    try:
        content = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return UUID(bytes=content[:_ID_BYTES]), content[_ID_BYTES:]


def _hash(secret: bytes) -> bytes:
    """256 random bits need no slow hash: nobody can guess them."""
    return hashlib.sha256(secret).digest()
