"""Handlers of the account and token routes: read the request, call the use case, build the response."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from gateway.accounts import logins
from gateway.accounts import request_bodies as bodies
from gateway.accounts import use_cases as accounts
from gateway.accounts.query_parameters import AccountsQuery
from gateway.http.bodies.json_body import parse_json, read_json
from gateway.http.problems import unauthorized
from gateway.http.query_parameters import read_query
from gateway.http.responses import NO_CONTENT, Response, json_response
from gateway.limits.fair_semaphore import QueueEntry
from shared.domain.account import Role
from shared.domain.errors import DeniedError

if TYPE_CHECKING:
    from gateway.accounts.logins import LoginGrant
    from gateway.accounts.password_hashing import PasswordHashing
    from gateway.auth.access_tokens import AccessTokens
    from gateway.auth.database_clock import DatabaseClock
    from gateway.http.request import Request
    from gateway.limits.login_throttle import LoginThrottle
    from shared.domain.account import Account
    from shared.ports.accounts import AccountStore
    from shared.ports.logins import LoginStore
    from shared.runtime.settings import GatewayOnlySettings

# Credentials and accounts are a few hundred bytes.
_SMALL_BODY_BYTES: Final = 16 * 1024
_BEARER: Final = "Bearer"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountHandlers:
    """One method per route."""

    accounts: AccountStore
    logins: LoginStore
    tokens: AccessTokens
    passwords: PasswordHashing
    throttle: LoginThrottle
    clock: DatabaseClock
    settings: GatewayOnlySettings

    async def post_token(self, request: Request) -> Response:
        """Log in: exchange a name and a password for an access token and a refresh token."""
        credentials = bodies.read_credentials(await _small_json(request))
        account = await self._authenticate(request, credentials.user, credentials.password)
        if account is None:
            raise unauthorized("No account has this name and this password.")
        grant = await logins.begin_login(
            account, lifetime_s=self.settings.refresh_lifetime_s, logins=self.logins
        )
        return self._token_response(grant)

    async def post_refresh(self, request: Request) -> Response:
        """Exchange a refresh token for the next one and an access token."""
        body = bodies.read_refresh(await _small_json(request))
        grant = await logins.refresh_login(body.refresh_token, logins=self.logins)
        if grant is None:
            detail = "The refresh token is not valid, or no longer: log in with POST /token."
            raise unauthorized(detail)
        return self._token_response(grant)

    async def post_revoke(self, request: Request) -> Response:
        """Revoke the login of a refresh token; an unknown token is no error (RFC 7009)."""
        body = bodies.read_refresh(await _small_json(request))
        await logins.revoke_login(body.refresh_token, logins=self.logins)
        return Response(NO_CONTENT)

    async def get_jwks(self, _: Request) -> Response:
        """The public keys that verify our tokens."""
        return json_response(self.tokens.jwks(), headers={"Cache-Control": "public, max-age=300"})

    async def post_user(self, request: Request) -> Response:
        """Create an account."""
        body = bodies.read_account(
            await _small_json(request), password_min_length=self.settings.password_min_length
        )
        account = await accounts.create_account(
            body.user,
            body.password,
            map(Role, body.roles),
            accounts=self.accounts,
            passwords=self.passwords,
            entry=_queue_entry(request),
        )
        return json_response(_account_content(account), HTTPStatus.CREATED)

    async def get_users(self, request: Request) -> Response:
        """A page of the accounts, in the order of their names."""
        query = read_query(AccountsQuery, request.rel_url)
        found = await self.accounts.page(limit=query.limit + 1, after=query.cursor or "")
        page = found[: query.limit]
        content: dict[str, object] = {"users": [_account_content(account) for account in page]}
        if len(found) > query.limit:
            content["next_cursor"] = page[-1].name
        return json_response(content)

    async def delete_user(self, request: Request) -> Response:
        """Delete an account."""
        await accounts.delete_account(request.parameters["name"], accounts=self.accounts)
        return Response(NO_CONTENT)

    async def put_roles(self, request: Request) -> Response:
        """Change an account's roles."""
        name = request.parameters["name"]
        roles = [Role(role) for role in bodies.read_roles(await _small_json(request)).roles]
        await accounts.change_roles(name, roles, accounts=self.accounts)
        return json_response({"user": name, "roles": sorted(set(roles))})

    async def put_password(self, request: Request) -> Response:
        """Change a password: one's own with the present one, another account's as an administrator."""
        name, caller = request.parameters["name"], request.caller
        if name != caller.name and Role.ADMIN not in caller.roles:
            raise DeniedError(f"This needs the role {Role.ADMIN}, or to be your own account.")
        body = bodies.read_password(
            await _small_json(request), password_min_length=self.settings.password_min_length
        )
        if name == caller.name:
            await self._check_current_password(request, name, body.current_password)
        await accounts.change_password(
            name,
            body.password,
            accounts=self.accounts,
            passwords=self.passwords,
            entry=_queue_entry(request),
        )
        return Response(NO_CONTENT)

    async def _check_current_password(self, request: Request, name: str, password: str | None) -> None:
        """Require the present password: a stolen session must not suffice to take over the account."""
        if password is None:
            raise DeniedError("Changing your own password needs current_password.")
        if await self._authenticate(request, name, password) is None:
            raise DeniedError("The current_password is wrong.")

    async def _authenticate(self, request: Request, name: str, password: str) -> Account | None:
        with request.while_connected():  # many may wait for a slot
            return await accounts.authenticate(
                name,
                password,
                address=request.address,
                accounts=self.accounts,
                passwords=self.passwords,
                throttle=self.throttle,
            )

    def _token_response(self, grant: LoginGrant) -> Response:
        account = grant.account
        now = self.clock.utc_now()
        token = self.tokens.issue(account.name, account.roles, now=now, version=account.version)
        content = {
            "access_token": token,
            "refresh_token": grant.refresh_token,
            "token_type": _BEARER,
            "expires_in": self.tokens.lifetime_s,
        }
        return json_response(content, headers={"Cache-Control": "no-store"})


def _queue_entry(request: Request) -> QueueEntry:
    """The caller's entry in the queue for password hashing."""
    return QueueEntry(frozenset({f"caller/{request.caller.name}"}), has_priority=True)


def _account_content(account: Account) -> dict[str, object]:
    return {"user": account.name, "roles": sorted(account.roles)}


async def _small_json(request: Request) -> object:
    return await read_json(request, parse_json, max_bytes=_SMALL_BODY_BYTES)
