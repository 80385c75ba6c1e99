"""Verify access tokens of an external issuer of OpenID Connect: Keycloak, Auth0, Cognito and others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import jwt

from gateway.auth.access_tokens import (
    WITHOUT_TIMES,
    InvalidTokenError,
    VerifiedToken,
    check_times,
    invalid_token_error,
    unknown_key_error,
    unverified_header,
)
from gateway.auth.jwks import ALGORITHMS
from gateway.http.caller import Caller
from shared.domain.account import Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from gateway.auth.jwks import JwksClient

_TYPES: Final = {None, "jwt", "at+jwt", "application/at+jwt"}
_REQUIRED: Final = ["exp", "iat", "iss", "sub"]
_LEEWAY_S: Final = 30.0  # different operators keep its clock and ours
_CACHED_S: Final = 60
_LONGEST_LIFETIME_S: Final = 24 * 3600  # Auth0's default; others' are minutes
_MAX_SUBJECT_LENGTH: Final = 255  # OpenID Connect Core, section 2


class _WrongKeyError(InvalidTokenError):
    """No known key of this id has signed the token."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalIssuer:
    """Verifies the tokens of one external issuer.

    Attributes:
        issuer: What ``iss`` must be, exactly.
        audience: What ``aud`` must be or contain; or ``client_id``, in Cognito's access tokens.
        roles_claim: The path of the roles; dots lead into objects, as in ``realm_access.roles``.
    """

    issuer: str
    audience: str
    roles_claim: str
    keys: JwksClient

    async def verify(self, token: str, *, now: float) -> VerifiedToken:
        """Verify a token; ``now`` is in seconds since 1970.

        The caller's name is the issuer and the subject, which no local account can be named.

        The result is valid for a minute at the most: the issuer may withdraw a key at any time.

        Raises:
            InvalidTokenError: It is expired, unsigned, for another audience, of another issuer, key or
                algorithm.
            UnavailableError: The issuer's keys can't be fetched.
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
            raise unknown_key_error(token, expected_issuer=self.issuer)
        try:
            claims = self._claims(token, found, algorithm)
        except _WrongKeyError:
            claims = self._claims(token, await self.keys.refetch(key_id), algorithm)
        check_times(claims, now=now, leeway_s=_LEEWAY_S, longest_s=_LONGEST_LIFETIME_S)
        return VerifiedToken(self._caller(claims), min(claims["exp"] + _LEEWAY_S, now + _CACHED_S))

    def _claims(self, token: str, keys: Sequence[jwt.PyJWK], algorithm: str) -> dict[str, Any]:
        """The claims, verified with one of these keys; usually there is one."""
        for key in keys:
            if key.algorithm_name == algorithm:
                try:
                    return self._signed_claims(token, key, algorithm)
                except jwt.InvalidSignatureError:
                    continue
                except (jwt.PyJWTError, LookupError, TypeError, ValueError, OverflowError) as error:
                    raise invalid_token_error(error, token, expected_issuer=self.issuer) from error
        raise _WrongKeyError("its signature is wrong")

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
    """The claimed roles that exist here."""
    claimed = _claim_at(claims, path)
    return frozenset(role for role in Role if isinstance(claimed, list) and role in claimed)


def _claim_at(claims: Mapping[str, Any], path: str) -> object:
    """The value at a path; a claim's name may itself contain dots, as Auth0's URLs do."""
    if path in claims:
        return claims[path]
    found: object = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found
