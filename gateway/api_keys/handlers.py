"""Handlers of the API key routes: read the request, call the use case, build the response."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from gateway.api_keys.query_parameters import ApiKeysQuery
from gateway.api_keys.request_bodies import read_api_key
from gateway.api_keys.use_cases import create_api_key, list_api_keys, revoke_api_key
from gateway.http.bodies.json_body import parse_json, read_json
from gateway.http.query_parameters import read_query
from gateway.http.responses import NO_CONTENT, Response, json_response
from shared.domain.account import Role
from shared.domain.errors import DeniedError

if TYPE_CHECKING:
    from gateway.auth.api_key_verifier import ApiKeyVerifier
    from gateway.http.request import Request
    from shared.domain.api_key import ApiKey
    from shared.ports.accounts import AccountStore
    from shared.ports.api_keys import ApiKeyStore

# A name of 64 characters, roles and an account are a few hundred bytes.
_SMALL_BODY_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyHandlers:
    """One method per route."""

    keys: ApiKeyStore
    accounts: AccountStore
    verifier: ApiKeyVerifier

    async def post_key(self, request: Request) -> Response:
        """Create an API key."""
        body = read_api_key(await read_json(request, parse_json, max_bytes=_SMALL_BODY_BYTES))
        created = await create_api_key(
            _account_of(request, body.user),
            body.name,
            roles=[Role(role) for role in body.roles],
            lifetime_days=body.expires_in_days,
            keys=self.keys,
            accounts=self.accounts,
        )
        content = {**_key_content(created.key), "key": created.secret}
        return json_response(content, HTTPStatus.CREATED, headers={"Cache-Control": "no-store"})

    async def get_keys(self, request: Request) -> Response:
        """The API keys of an account."""
        owner = _account_of(request, read_query(ApiKeysQuery, request.rel_url).user)
        found = await list_api_keys(owner, keys=self.keys, accounts=self.accounts)
        return json_response({"keys": [_key_content(key) for key in found]})

    async def delete_key(self, request: Request) -> Response:
        """Revoke an API key."""
        caller = request.caller
        owner = None if Role.ADMIN in caller.roles else caller.name
        account = await revoke_api_key(request.parameters["key_id"], owner=owner, keys=self.keys)
        self.verifier.forget_keys_of(account)
        return Response(NO_CONTENT)


def _account_of(request: Request, named: str | None) -> str:
    """The account whose keys a request is about.

    Raises:
        DeniedError: It is another's, and the caller is no administrator; or their account is not kept here.
    """
    caller = request.caller
    if named is not None and named != caller.name and Role.ADMIN not in caller.roles:
        raise DeniedError(f"This needs the role {Role.ADMIN}, or to be your own account.")
    if named is None and caller.version is None:
        raise DeniedError("Your account is kept by another issuer; only accounts of this one have API keys.")
    return named or caller.name


def _key_content(key: ApiKey) -> dict[str, object]:
    return {
        "id": str(key.id),
        "user": key.account,
        "name": key.name,
        "prefix": key.prefix,
        "roles": sorted(key.roles),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
    }
