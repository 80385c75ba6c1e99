"""The routes of accounts and tokens."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from gateway.accounts.handlers import AccountHandlers
from gateway.accounts.query_parameters import AccountsQuery
from gateway.accounts.request_bodies import AccountBody, CredentialsBody, PasswordBody, RefreshBody, RolesBody
from gateway.accounts.response_bodies import AccountResponse, AccountsResponse, KeysResponse, TokenResponse
from gateway.contract.route import Route, RouteResponse
from shared.domain.account import Role

_TOKENS: Final = "Tokens"
_ACCOUNTS: Final = "Accounts"

_REFRESH: Final = {"a refresh token": {"refresh_token": "c2VjcmV0LW9mLTI1Ni1iaXRzLW5vYm9keS1ndWVzc2VzLWl0"}}
_SUBMITTER: Final = {"user": "grace@example.org", "roles": ["user"]}
_NO_ACCOUNT: Final = {HTTPStatus.NOT_FOUND: "There is no account of this name."}
_LAST_ADMIN: Final = {HTTPStatus.CONFLICT: "This is the last administrator; make another one first."}
_TOKENS_RESPONSE: Final = RouteResponse(
    description="A token that proves for a while who you are, and one that gets the next.",
    model=TokenResponse,
    examples={
        "tokens": {
            "access_token": "eyJhbGciOiJFZERTQSIsInR5cCI6ImF0K2p3dCJ9.eyJzdWIiOiJhZGEifQ.c2ln",
            "refresh_token": "c2VjcmV0LW9mLTI1Ni1iaXRzLW5vYm9keS1ndWVzc2VzLWl0",
            "token_type": "Bearer",
            "expires_in": 900,
        }
    },
    headers={"Cache-Control": "`no-store`"},
)

ACCOUNT_ROUTES: Final = (
    Route(
        method="POST",
        path="/token",
        handler=AccountHandlers.post_token,
        role=None,
        takes_password=True,
        tag=_TOKENS,
        summary="Trade a name and a password for tokens",
        request=CredentialsBody,
        examples={"the embedded mode's demo account": {"user": "demo", "password": "demo"}},
        responses={HTTPStatus.OK: _TOKENS_RESPONSE},
        problems={HTTPStatus.UNAUTHORIZED: "No account has this name and this password."},
    ),
    Route(
        method="POST",
        path="/token/refresh",
        handler=AccountHandlers.post_refresh,
        role=None,
        tag=_TOKENS,
        summary="Trade a refresh token for the next tokens",
        description="It is spent by that. Using it twice ends the login: all tokens that came of it.",
        request=RefreshBody,
        examples=_REFRESH,
        responses={HTTPStatus.OK: _TOKENS_RESPONSE},
        problems={
            HTTPStatus.UNAUTHORIZED: "The refresh token is not valid, or no longer: log in with POST /token."
        },
    ),
    Route(
        method="POST",
        path="/token/revoke",
        handler=AccountHandlers.post_revoke,
        role=None,
        tag=_TOKENS,
        summary="End a login",
        description="The refresh token and all that came of its login are dead; one that was is no error.",
        request=RefreshBody,
        examples=_REFRESH,
        responses={HTTPStatus.NO_CONTENT: RouteResponse(description="It is ended.")},
    ),
    Route(
        method="GET",
        path="/.well-known/jwks.json",
        handler=AccountHandlers.get_jwks,
        role=None,
        tag=_TOKENS,
        summary="Get the public keys that prove our tokens",
        responses={
            HTTPStatus.OK: RouteResponse(
                description="A JSON Web Key Set (RFC 7517).",
                model=KeysResponse,
                examples={
                    "one key": {
                        "keys": [
                            {
                                "kty": "OKP",
                                "crv": "Ed25519",
                                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
                                "kid": "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
                                "alg": "EdDSA",
                                "use": "sig",
                            }
                        ]
                    }
                },
                headers={"Cache-Control": "For how long they may be kept."},
            )
        },
    ),
    Route(
        method="POST",
        path="/user",
        handler=AccountHandlers.post_user,
        role=Role.ADMIN,
        takes_api_keys=False,
        tag=_ACCOUNTS,
        summary="Create an account",
        description=(
            "`user` submits ECGs and reads its own; `admin` administers accounts; `observer` sees how the "
            "installation does, and `operator` acts on it; `subscriber` sees the events of all owners. An "
            "account may have several."
        ),
        request=AccountBody,
        examples={
            "a submitter": {"user": "grace@example.org", "password": "correct horse battery"},
            "an administrator": {"user": "alan", "password": "correct horse battery", "roles": ["admin"]},
        },
        responses={
            HTTPStatus.CREATED: RouteResponse(
                description="The account exists.", model=AccountResponse, examples={"a submitter": _SUBMITTER}
            )
        },
        problems={HTTPStatus.CONFLICT: "There is an account named grace@example.org already."},
    ),
    Route(
        method="GET",
        path="/user",
        handler=AccountHandlers.get_users,
        role=Role.ADMIN,
        takes_api_keys=False,
        tag=_ACCOUNTS,
        summary="List the accounts, by name",
        query=AccountsQuery,
        responses={
            HTTPStatus.OK: RouteResponse(
                description="A page of the accounts.",
                model=AccountsResponse,
                examples={"a page": {"users": [_SUBMITTER], "next_cursor": "grace@example.org"}},
            )
        },
        problems={HTTPStatus.BAD_REQUEST: "The query does not fit: limit: expected an integer."},
    ),
    Route(
        method="DELETE",
        path="/user/{name}",
        handler=AccountHandlers.delete_user,
        role=Role.ADMIN,
        takes_api_keys=False,
        tag=_ACCOUNTS,
        summary="Delete an account",
        description="Its access tokens end within `ISOLINE_REVOCATION_S` (5 s by default); its ECGs stay.",
        responses={HTTPStatus.NO_CONTENT: RouteResponse(description="It is gone.")},
        problems={**_NO_ACCOUNT, **_LAST_ADMIN},
    ),
    Route(
        method="PUT",
        path="/user/{name}/roles",
        handler=AccountHandlers.put_roles,
        role=Role.ADMIN,
        takes_api_keys=False,
        tag=_ACCOUNTS,
        summary="Give an account other roles",
        request=RolesBody,
        examples={"both": {"roles": ["user", "admin"]}},
        responses={
            HTTPStatus.OK: RouteResponse(
                description="It has these roles.", model=AccountResponse, examples={"a submitter": _SUBMITTER}
            )
        },
        problems={**_NO_ACCOUNT, **_LAST_ADMIN},
    ),
    Route(
        method="PUT",
        path="/user/{name}/password",
        handler=AccountHandlers.put_password,
        role=frozenset(Role),
        takes_api_keys=False,
        tag=_ACCOUNTS,
        summary="Give an account another password",
        description="An administrator may for every account; for one's own the present one is needed.",
        request=PasswordBody,
        examples={
            "one's own": {"password": "battery horse correct", "current_password": "correct horse battery"}
        },
        responses={HTTPStatus.NO_CONTENT: RouteResponse(description="It has it.")},
        problems=_NO_ACCOUNT,
    ),
)
