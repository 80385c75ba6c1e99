"""Access tokens: EdDSA-signed JWTs (RFC 9068), short-lived, every claim required."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.domain.account import Role
from shared.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

MAX_TOKEN_BYTES: Final = 4096

_ALGORITHM: Final = "EdDSA"
_TYPE: Final = "at+jwt"
_SEED_BYTES: Final = 32
# PyJWT takes any number as an expiry, 1e300 too.
_MAX_LIFETIME_S: Final = 900
_REQUIRED: Final = ["exp", "iat", "nbf", "iss", "aud", "sub", "jti"]


class InvalidTokenError(Exception):
    """The token proves nothing."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request, as their token proves."""

    name: str
    roles: frozenset[Role]


class Tokens:
    """Signs access tokens and tells whose a token is.

    Args:
        key: 32 random bytes in base64, the seed of an Ed25519 key (RFC 8032).
        issuer: Who signs; a token of anybody else is refused.
        audience: For whom; a token for anybody else is refused.
        lifetime_s: Seconds until a token expires.

    Raises:
        ConfigurationError: The key is not 32 bytes in base64.
    """

    def __init__(self, *, key: str, issuer: str, audience: str, lifetime_s: int) -> None:
        self._private_key = Ed25519PrivateKey.from_private_bytes(_seed(key))
        self._public_key = self._private_key.public_key()
        self._key_id = _thumbprint(self._public_key.public_bytes(Encoding.Raw, PublicFormat.Raw))
        self._issuer = issuer
        self._audience = audience
        self.lifetime_s: Final = lifetime_s

    def issue(self, name: str, roles: Iterable[Role], *, now: datetime) -> str:
        """A token that proves for ``lifetime_s`` seconds who its bearer is."""
        issued_at = int(now.timestamp())
        claims = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": name,
            "roles": sorted(roles),
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at + self.lifetime_s,
            "jti": secrets.token_hex(16),
        }
        return jwt.encode(
            claims, self._private_key, algorithm=_ALGORITHM, headers={"typ": _TYPE, "kid": self._key_id}
        )

    def caller(self, token: str) -> Caller:
        """Whose token it is.

        Raises:
            InvalidTokenError: It is too long, expired or will never be, unsigned, or of another issuer,
                type, key or algorithm.
        """
        if len(token) > MAX_TOKEN_BYTES:
            raise InvalidTokenError(f"longer than {MAX_TOKEN_BYTES} bytes")
        try:
            self._check_header(jwt.get_unverified_header(token))
            claims = jwt.decode(
                token,
                self._public_key,
                algorithms=[_ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                options={"require": _REQUIRED, "strict_aud": True},
            )
            if claims["exp"] - claims["iat"] > _MAX_LIFETIME_S:
                raise InvalidTokenError("it lives too long")
            return Caller(claims["sub"], frozenset(map(Role, claims["roles"])))
        except (jwt.PyJWTError, LookupError, TypeError, ValueError, OverflowError) as error:
            raise InvalidTokenError(type(error).__name__) from error

    def _check_header(self, header: dict[str, object]) -> None:
        expected = {"typ": _TYPE, "kid": self._key_id, "alg": _ALGORITHM}
        if header != expected:
            raise InvalidTokenError("its header is not one of ours")


def _seed(key: str) -> bytes:
    try:
        seed = base64.b64decode(key, validate=True)
    except binascii.Error:
        seed = b""
    if len(seed) != _SEED_BYTES:
        raise ConfigurationError(
            "ISOLINE_TOKEN_KEY: expected 32 random bytes in base64 (openssl rand -base64 32)"
        )
    return seed


def _thumbprint(public_key: bytes) -> str:
    """The key's name by RFC 7638."""
    x = base64.urlsafe_b64encode(public_key).rstrip(b"=").decode()
    canonical = orjson.dumps({"crv": "Ed25519", "kty": "OKP", "x": x})
    return base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()
