"""The routes of API keys."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from gateway.api_keys.handlers import ApiKeyHandlers
from gateway.api_keys.query_parameters import ApiKeysQuery
from gateway.api_keys.request_bodies import ApiKeyBody
from gateway.api_keys.response_bodies import ApiKeysResponse, NewApiKeyResponse
from gateway.api_keys.use_cases import MAX_KEYS
from gateway.contract.route import Route, RouteResponse
from shared.domain.account import Role

_TAG: Final = "API keys"
_EVERYBODY: Final = frozenset(Role)

_KEY: Final = {
    "id": "7c1f4c5e-3a52-4f6b-9a0e-2d8f6d3c1b7a",
    "user": "grace@example.org",
    "name": "monitors of ward 3",
    "prefix": "isk_0aB1cD2e",
    "roles": ["user"],
    "created_at": "2026-11-30T08:47:28.923591+00:00",
    "expires_at": "2027-02-28T08:47:28.923591+00:00",
    "last_used_at": None,
}
_NO_ACCOUNT: Final = {HTTPStatus.NOT_FOUND: "There is no account named grace."}
_NO_ADMIN: Final = {HTTPStatus.FORBIDDEN: "This needs the role admin, or to be your own account."}

API_KEY_ROUTES: Final = (
    Route(
        method="POST",
        path="/key",
        handler=ApiKeyHandlers.post_key,
        role=_EVERYBODY,
        takes_api_keys=False,
        tag=_TAG,
        summary="Create an API key",
        description=(
            "For a service or a device, which sends it as `Authorization: Bearer` wherever a token is taken, "
            "but to administer accounts and API keys. It is shown only now. An account has "
            f"{MAX_KEYS} at the most, expired ones among them."
        ),
        request=ApiKeyBody,
        examples={
            "for three months": {"name": "monitors of ward 3", "roles": ["user"], "expires_in_days": 90},
            "for another account": {"name": "billing", "roles": ["subscriber"], "user": "billing"},
        },
        responses={
            HTTPStatus.CREATED: RouteResponse(
                description="The key works.",
                model=NewApiKeyResponse,
                examples={"a key": {**_KEY, "key": f"{_KEY['prefix']}{'x' * 38}"}},
                headers={"Cache-Control": "`no-store`"},
            )
        },
        problems={
            **_NO_ACCOUNT,
            HTTPStatus.FORBIDDEN: "The account grace does not have the role subscriber.",
            HTTPStatus.CONFLICT: f"The account grace has {MAX_KEYS} API keys, the most; revoke one first.",
        },
    ),
    Route(
        method="GET",
        path="/key",
        handler=ApiKeyHandlers.get_keys,
        role=_EVERYBODY,
        takes_api_keys=False,
        tag=_TAG,
        summary="List the API keys of an account, the newest first",
        query=ApiKeysQuery,
        responses={
            HTTPStatus.OK: RouteResponse(
                description="All of them, without their secrets.",
                model=ApiKeysResponse,
                examples={"one key": {"keys": [_KEY]}},
            )
        },
        problems={
            **_NO_ACCOUNT,
            **_NO_ADMIN,
            HTTPStatus.BAD_REQUEST: "The query does not fit: users: this field is not known here.",
        },
    ),
    Route(
        method="DELETE",
        path="/key/{key_id}",
        handler=ApiKeyHandlers.delete_key,
        role=_EVERYBODY,
        takes_api_keys=False,
        tag=_TAG,
        summary="Revoke an API key",
        description=(
            "Your own, or as an administrator any. The process that answers takes it no longer, and others "
            "within `ISOLINE_REVOCATION_S` (5 s by default)."
        ),
        responses={HTTPStatus.NO_CONTENT: RouteResponse(description="It is revoked.")},
        problems={HTTPStatus.NOT_FOUND: "You have no API key of this id."},
    ),
)
