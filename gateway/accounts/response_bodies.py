"""Response bodies of the account and token routes, as models for the contract."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from gateway.http.validation import ResponseBody


class TokenResponse(ResponseBody):
    """An access token, and a refresh token for the next one."""

    access_token: Annotated[str, Field(description="Send it as `Authorization: Bearer`.")]
    refresh_token: Annotated[str, Field(description="Good for one `POST /token/refresh`.")]
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, Field(ge=1, description="Seconds.")]


class AccountResponse(ResponseBody):
    """An account, without its password."""

    user: str
    roles: list[Literal["user", "admin", "operator", "observer", "subscriber"]]


class AccountsResponse(ResponseBody):
    """A page of accounts, by name."""

    users: list[AccountResponse]
    next_cursor: Annotated[
        str, Field(description="The `cursor` of the next page; not there on the last.")
    ] = ""


class KeyResponse(ResponseBody):
    """A public key as a JWK (RFC 8037)."""

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    kid: str
    alg: Literal["EdDSA"]
    use: Literal["sig"]


class KeysResponse(ResponseBody):
    """The keys that prove our access tokens (RFC 7517)."""

    keys: list[KeyResponse]
