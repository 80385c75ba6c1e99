"""Access tokens: EdDSA-signed JWTs (RFC 9068), short-lived, every claim required."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final, NamedTuple

import jwt

from gateway.auth.database_clock import LEEWAY_S
from gateway.auth.signing_keys import ALGORITHM, read_keys
from gateway.http.caller import Caller
from shared.domain.account import USER_NAME, Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from typing import Any

    from jwt.types import Options

# The limit of a line in a request's head; a token with 150 roles has 4.6 KB.
MAX_TOKEN_BYTES: Final = 8190

_TYPE: Final = "at+jwt"
# PyJWT accepts any number as an expiry, even 1e300.
_MAX_LIFETIME_S: Final = 900
_REQUIRED: Final = ["exp", "iat", "nbf", "iss", "aud", "sub", "jti", "roles", "ver"]
_TIMES: Final = ("exp", "iat", "nbf")
# JSON has integers that no float can hold; 1e12 s are some 30,000 years.
_END_OF_TIME: Final = 1e12

# PyJWT can only use the machine's clock; `check_times` checks the times instead.
WITHOUT_TIMES: Final[Options] = {"verify_exp": False, "verify_iat": False, "verify_nbf": False}


_MAX_LOGGED: Final = 200
_CLAIM_OF: Final[Mapping[type[jwt.PyJWTError], str]] = {
    jwt.InvalidIssuerError: "iss",
    jwt.InvalidAudienceError: "aud",
    jwt.exceptions.InvalidSubjectError: "sub",
    jwt.exceptions.InvalidJTIError: "jti",
}


class InvalidTokenError(Exception):
    """The token is invalid.

    Attributes:
        reason: Why, in a sentence that is the same for each such token.
        claim: The claim or header field at fault, if it is known.
        expected: What it should have been, where that helps an operator, and
        found: what it was, where that is not personal: the name of another issuer.
    """

    def __init__(self, reason: str, *, claim: str = "", expected: str = "", found: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.claim = claim
        self.expected = expected
        self.found = found


class VerifiedToken(NamedTuple):
    """The caller that a token proves, and its expiry in seconds since 1970."""

    caller: Caller
    until: float


class AccessTokens:
    """Signs and verifies access tokens.

    Args:
        key: One or two seeds of Ed25519 keys, see `gateway.auth.signing_keys.read_keys`; the first signs.
        issuer: The claim ``iss``; tokens of another issuer are refused.
        audience: The claim ``aud``; tokens for another audience are refused.
        lifetime_s: Seconds until a token expires.

    Raises:
        ConfigurationError: The key is invalid.
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
        """A new token, valid for ``lifetime_s`` seconds.

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
        """Whether the unverified header names one of this issuer's keys.

        Raises:
            InvalidTokenError: The header can't be parsed.
        """
        return unverified_header(token).get("kid") in self._public_keys

    def verify(self, token: str, *, now: float) -> VerifiedToken:
        """Verify a token; ``now`` is in seconds since 1970, and may be off by `LEEWAY_S`.

        Raises:
            InvalidTokenError: It is too long, expired or without a sensible expiry, unsigned, or of another
                issuer, type, key or algorithm.
        """
        header = unverified_header(token)
        key_id = str(header.get("kid"))
        if key_id not in self._public_keys:
            raise unknown_key_error(token, expected_issuer=self._issuer)
        if header != {**_header(key_id), "alg": ALGORITHM}:
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
                raise InvalidTokenError("its times are not whole seconds", claim="exp, iat, nbf")
            check_times(claims, now=now, leeway_s=LEEWAY_S, longest_s=_MAX_LIFETIME_S)
            if not USER_NAME.fullmatch(claims["sub"]):
                raise InvalidTokenError("it names nobody that we could have named", claim="sub")
            if not isinstance(claims["roles"], list) or not set(claims["roles"]) <= set(Role):
                raise InvalidTokenError("its roles are none that we give", claim="roles")
            if type(claims["ver"]) is not int:
                raise InvalidTokenError("its version is no number", claim="ver")
            caller = Caller(claims["sub"], frozenset(map(Role, claims["roles"])), claims["ver"])
            return VerifiedToken(caller, claims["exp"] + LEEWAY_S)
        except (jwt.PyJWTError, LookupError, TypeError, ValueError, OverflowError) as error:
            raise invalid_token_error(error, token, expected_issuer=self._issuer) from error


def _header(key_id: str) -> dict[str, str]:
    return {"typ": _TYPE, "kid": key_id}


def check_times(claims: Mapping[str, Any], *, now: float, leeway_s: float, longest_s: float) -> None:
    """Refuse a token that has expired, is not valid yet, or has too long a lifetime.

    Args:
        claims: At least ``exp`` and ``iat``.
        now: Seconds since 1970.
        leeway_s: By how much ``now`` and the clock of the issuer may differ.
        longest_s: The longest lifetime, from ``iat`` to ``exp``.

    Raises:
        InvalidTokenError: One of these.
    """
    times = {name: claims[name] for name in _TIMES if name in claims}
    if not all(type(time) in {int, float} and abs(time) < _END_OF_TIME for time in times.values()):
        raise InvalidTokenError("its times are no numbers", claim="exp, iat, nbf")
    if not 0 < times["exp"] - times["iat"] <= longest_s:
        raise InvalidTokenError("it was to live too long", claim="exp")
    if times["exp"] + leeway_s <= now:
        raise InvalidTokenError("it has expired", claim="exp")
    for name in ("iat", "nbf"):
        if times.get(name, now) - leeway_s > now:
            raise InvalidTokenError("it is not valid yet", claim=name)


def unverified_header(token: str) -> dict[str, Any]:
    """The header of a token, not verified; too long a token is not parsed."""
    if len(token) > MAX_TOKEN_BYTES:
        raise InvalidTokenError(f"longer than {MAX_TOKEN_BYTES} bytes")
    try:
        header: dict[str, Any] = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise InvalidTokenError("it is no JSON Web Token") from error
    return header


def unknown_key_error(token: str, *, expected_issuer: str) -> InvalidTokenError:
    """The error for a token of an unknown key; names the issuer that the token claims."""
    found = _unverified_issuer(token)
    if found == expected_issuer:
        return InvalidTokenError("its issuer has no such key", claim="kid")
    return _wrong_issuer_error(found, expected_issuer, "it is of an unknown key and of another issuer")


def invalid_token_error(error: Exception, token: str, *, expected_issuer: str) -> InvalidTokenError:
    """The error for a token that PyJWT, or parsing its claims, found invalid."""
    match error:
        case jwt.InvalidIssuerError():
            reason = "it is of another issuer, by a key of this one"
            return _wrong_issuer_error(_unverified_issuer(token), expected_issuer, reason)
        case jwt.MissingRequiredClaimError():
            return InvalidTokenError("a claim is missing", claim=error.claim)
        case jwt.InvalidSignatureError():
            return InvalidTokenError("its signature is wrong")
        case jwt.PyJWTError():
            return InvalidTokenError(type(error).__name__, claim=_CLAIM_OF.get(type(error), ""))
        case _:
            return InvalidTokenError("a claim is not what it should be")


def _wrong_issuer_error(found: object, expected: str, reason: str) -> InvalidTokenError:
    """Names both issuers: they often differ only in a slash."""
    shown = found if isinstance(found, str) else f"no text but {type(found).__name__}"
    escaped = shown[:_MAX_LOGGED].encode("unicode_escape").decode()
    return InvalidTokenError(reason, claim="iss", expected=expected, found=escaped[:_MAX_LOGGED])


def _unverified_issuer(token: str) -> object:
    try:
        return jwt.decode(token, options={"verify_signature": False}).get("iss")
    except (jwt.PyJWTError, ValueError, RecursionError):
        return None
