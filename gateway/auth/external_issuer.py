"""Access tokens of another issuer: Keycloak, Auth0, Cognito or whoever else speaks OpenID Connect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import jwt

from gateway.auth.access_tokens import (
    WITHOUT_TIMES,
    Caller,
    InvalidTokenError,
    Verified,
    check_times,
    invalid,
    of_unknown_key,
    unverified_header,
)
from gateway.auth.jwks import ALGORITHMS
from shared.domain.account import Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from gateway.auth.jwks import IssuerKeys

_TYPES: Final = {None, "jwt", "at+jwt", "application/at+jwt"}
_REQUIRED: Final = ["exp", "iat", "iss", "sub"]
_LEEWAY_S: Final = 30.0  # its clock and ours are set by different people
_TRUSTED_S: Final = 60
_LONGEST_LIFETIME_S: Final = 24 * 3600  # Auth0's default; others' are minutes
_MAX_SUBJECT_LENGTH: Final = 255  # OpenID Connect Core, section 2


class _OtherKeyError(InvalidTokenError):
    """None of the keys that are known by the token's name for it has signed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalIssuer:
    """Tells whose a token of one other issuer is.

    Attributes:
        issuer: What ``iss`` must be, to the letter.
        audience: What ``aud`` must be or hold; or ``client_id``, in Cognito's access tokens.
        roles_claim: Where the roles are; dots lead into objects, as in ``realm_access.roles``.
    """

    issuer: str
    audience: str
    roles_claim: str
    keys: IssuerKeys

    async def verify(self, token: str, *, now: float) -> Verified:
        """Whose token it is at a time in seconds since 1970.

        The name is the issuer and the subject, which no local account can be called.

        It proves that for a minute at the most: the issuer may withdraw a key at any time.

        Raises:
            InvalidTokenError: It is expired, unsigned, for others, of another issuer, key or algorithm.
            UnavailableError: The issuer's keys can't be had.
        """
        header = unverified_header(token)
        key_id, algorithm, type_ = header.get("kid"), header.get("alg"), header.get("typ")
        if not isinstance(key_id, str):
            raise InvalidTokenError("its header names no key", claim="kid")
        if algorithm not in ALGORITHMS:
            raise InvalidTokenError("it is signed by an algorithm that is not taken", claim="alg")
        if "crit" in header:
            raise InvalidTokenError("its header asks for an extension", claim="crit")
        if (type_.lower() if isinstance(type_, str) else type_) not in _TYPES:
            raise InvalidTokenError("it is a token of another type", claim="typ")
        found = await self.keys.find(key_id)
        if not found:
            raise of_unknown_key(token, expected_issuer=self.issuer)
        try:
            claims = self._claims(token, found, algorithm)
        except _OtherKeyError:
            claims = self._claims(token, await self.keys.find_replaced(key_id), algorithm)
        check_times(claims, now=now, leeway_s=_LEEWAY_S, longest_s=_LONGEST_LIFETIME_S)
        return Verified(self._caller(claims), min(claims["exp"] + _LEEWAY_S, now + _TRUSTED_S))

    def _claims(self, token: str, keys: Sequence[jwt.PyJWK], algorithm: str) -> dict[str, Any]:
        """What it says, signed by one of these keys; usually there is one."""
        for key in keys:
            if key.algorithm_name == algorithm:
                try:
                    return self._signed_claims(token, key, algorithm)
                except jwt.InvalidSignatureError:
                    continue
                except (jwt.PyJWTError, LookupError, TypeError, ValueError, OverflowError) as error:
                    raise invalid(error, token, expected_issuer=self.issuer) from error
        raise _OtherKeyError("its signature is wrong")

    def _signed_claims(self, token: str, key: jwt.PyJWK, algorithm: str) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=[algorithm],
            issuer=self.issuer,
            options={**WITHOUT_TIMES, "require": _REQUIRED, "verify_aud": False},
        )
        return claims

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        if self.audience not in _audiences(claims):
            raise InvalidTokenError("it is for another audience", claim="aud", expected=self.audience)
        if claims.get("token_use", "access") != "access":
            raise InvalidTokenError("it is no access token", claim="token_use")
        if claims.get("typ", "Bearer") != "Bearer":
            raise InvalidTokenError("it is no access token", claim="typ")
        subject = claims["sub"]
        if not subject.isprintable() or not 1 <= len(subject) <= _MAX_SUBJECT_LENGTH:
            raise InvalidTokenError("its subject is no name", claim="sub")
        return Caller(f"{self.issuer}#{subject}", _roles(claims, self.roles_claim))


def _audiences(claims: Mapping[str, Any]) -> list[object]:
    if "aud" not in claims and claims.get("token_use") == "access":
        return [claims.get("client_id")]  # Cognito's access tokens have no `aud`
    audience = claims.get("aud")
    return audience if isinstance(audience, list) else [audience]


def _roles(claims: Mapping[str, Any], path: str) -> frozenset[Role]:
    """Those of the claimed roles that mean something here."""
    claimed = _at(claims, path)
    return frozenset(role for role in Role if isinstance(claimed, list) and role in claimed)


def _at(claims: Mapping[str, Any], path: str) -> object:
    """What a path leads to; a claim may also be named with dots, as Auth0's are, which are URLs."""
    if path in claims:
        return claims[path]
    found: object = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found
