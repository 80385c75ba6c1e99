"""Access tokens: EdDSA-signed JWTs (RFC 9068), short-lived, every claim required."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import jwt

from gateway.database_clock import LEEWAY_S
from gateway.keys import ALGORITHM, read_keys
from shared.domain.account import USER_NAME, Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from typing import Any

    from jwt.types import Options

MAX_TOKEN_BYTES: Final = 4096

_TYPE: Final = "at+jwt"
# PyJWT takes any number as an expiry, 1e300 too.
_MAX_LIFETIME_S: Final = 900
_REQUIRED: Final = ["exp", "iat", "nbf", "iss", "aud", "sub", "jti", "roles", "ver"]
_TIMES: Final = ("exp", "iat", "nbf")

# For PyJWT, which knows no clock but its machine's; `check_times` looks at the times.
WITHOUT_TIMES: Final[Options] = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}


class InvalidTokenError(Exception):
    """The token proves nothing."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request, as their token proves.

    Attributes:
        name: Whose ECGs are theirs: an account's name, or an external subject's URI.
        version: The account's when the token was issued; None where another issuer keeps the account.
    """

    name: str
    roles: frozenset[Role]
    version: int | None = None


class Verified(NamedTuple):
    """What a token proves, and until when, in seconds since 1970."""

    caller: Caller
    until: float


class Tokens:
    """Signs access tokens and tells whose a token is.

    Args:
        key: One or two seeds of Ed25519 keys, see `gateway.keys.read_keys`; the first signs.
        issuer: Who signs; a token of anybody else is refused.
        audience: For whom; a token for anybody else is refused.
        lifetime_s: Seconds until a token expires.

    Raises:
        ConfigurationError: The key is none.
    """

    def __init__(self, *, key: str, issuer: str, audience: str, lifetime_s: int) -> None:
        keys = read_keys(key)
        self._signing_key = keys[0]
        self._public_keys: Final = {key.id: key.public for key in keys}
        self._jwks: Final = {"keys": [key.jwk() for key in keys]}
        self._issuer = issuer
        self._audience = audience
        self.lifetime_s: Final = lifetime_s

    def jwks(self) -> Mapping[str, object]:
        """The public keys as a JSON Web Key Set (RFC 7517)."""
        return self._jwks

    def issue(self, name: str, roles: Iterable[Role], *, now: datetime, version: int = 1) -> str:
        """A token that proves for ``lifetime_s`` seconds who its bearer is.

        ``version`` is the account's: 1 for one that was never changed.
        """
        issued_at = int(now.timestamp())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": name,
            "roles": sorted(roles),
            "ver": version,
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at + self.lifetime_s,
            "jti": secrets.token_hex(16),
        }
        return jwt.encode(
            claims, self._signing_key.private, algorithm=ALGORITHM, headers=_header(self._signing_key.id)
        )

    def may_have_issued(self, token: str) -> bool:
        """Whether the token's header names a key of ours, which proves nothing yet.

        Raises:
            InvalidTokenError: It has no header that could be read.
        """
        return unverified_header(token).get("kid") in self._public_keys

    def verify(self, token: str, *, now: float) -> Verified:
        """Whose token it is, and until when; ``now`` is in seconds since 1970, and may be `LEEWAY_S` wrong.

        Raises:
            InvalidTokenError: It is too long, expired or will never be, unsigned, or of another issuer,
                type, key or algorithm.
        """
        header = unverified_header(token)
        key_id = str(header.get("kid"))
        if key_id not in self._public_keys or header != {**_header(key_id), "alg": ALGORITHM}:
            raise InvalidTokenError("its header is not one of ours")
        try:
            claims = jwt.decode(
                token,
                self._public_keys[key_id],
                algorithms=[ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                options={**WITHOUT_TIMES, "require": _REQUIRED, "strict_aud": True},
            )
            if not all(type(claims[name]) is int for name in _TIMES):
                raise InvalidTokenError("its times are not whole seconds")
            check_times(claims, now=now, leeway_s=LEEWAY_S, longest_s=_MAX_LIFETIME_S)
            if not USER_NAME.fullmatch(claims["sub"]) or type(claims["ver"]) is not int:
                raise InvalidTokenError("it names nobody that we could have named")
            caller = Caller(claims["sub"], frozenset(map(Role, claims["roles"])), claims["ver"])
            return Verified(caller, claims["exp"] + LEEWAY_S)
        except (jwt.PyJWTError, LookupError, TypeError, ValueError, OverflowError) as error:
            raise InvalidTokenError(type(error).__name__) from error


def _header(key_id: str) -> dict[str, str]:
    return {"typ": _TYPE, "kid": key_id}


def check_times(claims: Mapping[str, Any], *, now: float, leeway_s: float, longest_s: float) -> None:
    """Refuse a token that has expired, that is not valid yet, or that was to live too long.

    Args:
        claims: What it says; at least ``exp`` and ``iat``.
        now: Seconds since 1970.
        leeway_s: By what ``now`` and the clock that made the token may differ.
        longest_s: From ``iat`` to ``exp`` at the most.

    Raises:
        InvalidTokenError: It is to be refused.
    """
    times = {name: claims[name] for name in _TIMES if name in claims}
    if not all(type(time) in {int, float} and math.isfinite(time) for time in times.values()):
        raise InvalidTokenError("its times are no numbers")
    if not 0 < times["exp"] - times["iat"] <= longest_s:
        raise InvalidTokenError("it was to live too long")
    if times["exp"] + leeway_s <= now:
        raise InvalidTokenError("it has expired")
    if max(times["iat"], times.get("nbf", 0)) - leeway_s > now:
        raise InvalidTokenError("it is not valid yet")


def unverified_header(token: str) -> dict[str, Any]:
    """What the token says of itself; one that is too long is not read."""
    if len(token) > MAX_TOKEN_BYTES:
        raise InvalidTokenError(f"longer than {MAX_TOKEN_BYTES} bytes")
    try:
        header: dict[str, Any] = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise InvalidTokenError(type(error).__name__) from error
    return header
