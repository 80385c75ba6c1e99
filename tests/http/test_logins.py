from __future__ import annotations

import asyncio
import base64
import secrets
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from gateway.auth.access_tokens import AccessTokens, InvalidTokenError
from gateway.auth.signing_keys import rotate_keys
from shared.domain.account import Role
from shared.runtime.settings import GatewayOnlySettings
from shared.storage.postgres.accounts import PostgresAccountStore
from tests.http.conftest import PASSWORD, TOKEN_KEY, open_client, open_test_gateway, problem_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from shared.broker.in_process import InProcessBroker
    from shared.storage.postgres.database import Database

_REVOCATION_S = 0.4
_NOT_VALID = "The refresh token is not valid, or no longer: log in with POST /token."


@pytest.fixture
async def hasty(
    database: Database, broker: InProcessBroker, gateway: str
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a gateway on the accounts of `gateway` that refreshes revocations often."""
    del gateway  # it has made the accounts
    settings = GatewayOnlySettings(host="127.0.0.1", port=0, revocation_s=_REVOCATION_S)
    async with (
        open_test_gateway(database, broker.publisher(), settings=settings) as address,
        open_client(address) as session,
    ):
        yield session


async def logged_in(
    client: aiohttp.ClientSession, user: str = "ada", password: str = PASSWORD
) -> dict[str, Any]:
    async with client.post("/token", json={"user": user, "password": password}) as response:
        assert response.status == 200
        tokens: dict[str, Any] = await response.json()
    return tokens


async def refreshed(client: aiohttp.ClientSession, token: str) -> dict[str, Any] | None:
    async with client.post("/token/refresh", json={"refresh_token": token}) as response:
        if response.status != 200:
            assert (await problem_of(response, 401))["detail"] == _NOT_VALID
            return None
        assert response.headers["Cache-Control"] == "no-store"
        tokens: dict[str, Any] = await response.json()
    return tokens


async def is_taken(client: aiohttp.ClientSession, access_token: str, path: str = "/ecg/nothing") -> bool:
    async with client.get(path, headers={"Authorization": f"Bearer {access_token}"}) as response:
        assert response.status in {200, 401, 403, 404}
        return response.status != 401


class TestRefreshTokens:
    async def test_a_login_gives_both_tokens(self, nobody: aiohttp.ClientSession) -> None:
        tokens = await logged_in(nobody)

        assert tokens.keys() == {"access_token", "refresh_token", "token_type", "expires_in"}
        assert len(base64.urlsafe_b64decode(tokens["refresh_token"])) == 16 + 32

    async def test_refresh_tokens_are_rotated_again_and_again(self, nobody: aiohttp.ClientSession) -> None:
        tokens = await logged_in(nobody)
        seen = {tokens["refresh_token"]}
        for _ in range(3):
            again = await refreshed(nobody, tokens["refresh_token"])
            assert again
            assert again.keys() == tokens.keys()
            assert await is_taken(nobody, again["access_token"])
            tokens = again
            seen.add(tokens["refresh_token"])

        assert len(seen) == 4

    async def test_reuse_of_a_refresh_token_revokes_its_login(self, nobody: aiohttp.ClientSession) -> None:
        stolen = (await logged_in(nobody))["refresh_token"]
        another = (await logged_in(nobody))["refresh_token"]
        next_one = await refreshed(nobody, stolen)
        assert next_one

        assert await refreshed(nobody, stolen) is None

        assert await refreshed(nobody, next_one["refresh_token"]) is None
        assert await refreshed(nobody, another)

    async def test_of_two_concurrent_uses_one_succeeds_and_the_login_is_revoked(
        self, nobody: aiohttp.ClientSession
    ) -> None:
        token = (await logged_in(nobody))["refresh_token"]

        outcomes = await asyncio.gather(refreshed(nobody, token), refreshed(nobody, token))

        [winner] = [outcome for outcome in outcomes if outcome]
        assert await refreshed(nobody, winner["refresh_token"]) is None

    async def test_a_revoked_token_and_its_login_are_refused(self, nobody: aiohttp.ClientSession) -> None:
        first = (await logged_in(nobody))["refresh_token"]
        second = await refreshed(nobody, first)
        assert second

        for _ in range(2):
            async with nobody.post("/token/revoke", json={"refresh_token": first}) as response:
                assert response.status == 204
                assert await response.read() == b""

        assert await refreshed(nobody, second["refresh_token"]) is None

    @pytest.mark.parametrize(
        "token",
        [
            *("", "x", "x" * 64, "=" * 64, "\0" * 64, "ü" * 64, "' OR 1=1 --", "x" * 1024),
            base64.urlsafe_b64encode(bytes(48)).decode(),
        ],
    )
    async def test_an_invalid_refresh_token_is_refused_and_revoking_it_is_no_error(
        self, nobody: aiohttp.ClientSession, token: str
    ) -> None:
        assert await refreshed(nobody, token) is None
        async with nobody.post("/token/revoke", json={"refresh_token": token}) as response:
            assert response.status == 204

    async def test_an_access_token_is_no_refresh_token_nor_the_other_way_round(
        self, nobody: aiohttp.ClientSession
    ) -> None:
        tokens = await logged_in(nobody)

        assert await refreshed(nobody, tokens["access_token"]) is None
        assert not await is_taken(nobody, tokens["refresh_token"])

    async def test_the_database_stores_no_token(
        self, nobody: aiohttp.ClientSession, database: Database
    ) -> None:
        token = (await logged_in(nobody))["refresh_token"]

        async with database.connection() as connection:
            [row] = await connection.fetch("SELECT * FROM login")

        secret = base64.urlsafe_b64decode(token)[16:]
        assert secret not in row["token_hash"]
        assert token not in str(dict(row))

    @pytest.mark.parametrize(
        ("body", "pointers"),
        [({}, ["/refresh_token"]), ({"refresh_token": 5}, ["/refresh_token"]), ([], [""])],
    )
    @pytest.mark.parametrize("path", ["/token/refresh", "/token/revoke"])
    async def test_a_body_without_a_token_is_a_422(
        self, nobody_alone: aiohttp.ClientSession, path: str, body: object, pointers: list[str]
    ) -> None:
        async with nobody_alone.post(path, json=body) as response:
            problem = await problem_of(response, 422)

        assert [error["pointer"] for error in problem["errors"]] == pointers


class TestChangedAccounts:
    @pytest.mark.parametrize("change", ["roles", "password", "deletion"])
    async def test_a_change_revokes_tokens_within_the_stated_time(
        self, hasty: aiohttp.ClientSession, root: aiohttp.ClientSession, change: str
    ) -> None:
        tokens, others = await logged_in(hasty), await logged_in(hasty, "bob")
        assert await is_taken(hasty, tokens["access_token"])

        if change == "roles":
            await root.put("/user/ada/roles", json={"roles": ["admin"]})
        elif change == "password":
            await root.put("/user/ada/password", json={"password": "another password"})
        else:
            await root.delete("/user/ada")
        refreshed_at_once = await refreshed(hasty, tokens["refresh_token"])
        await asyncio.sleep(_REVOCATION_S)

        assert refreshed_at_once is None
        assert not await is_taken(hasty, tokens["access_token"])
        assert await is_taken(hasty, others["access_token"])
        assert await refreshed(hasty, others["refresh_token"])

    async def test_a_login_after_the_change_is_valid_at_once(
        self, hasty: aiohttp.ClientSession, root: aiohttp.ClientSession
    ) -> None:
        await root.put("/user/ada/roles", json={"roles": ["user", "admin"]})
        tokens = await logged_in(hasty)

        assert await is_taken(hasty, tokens["access_token"], "/user")
        await asyncio.sleep(_REVOCATION_S)
        assert await is_taken(hasty, tokens["access_token"], "/user")

    async def test_a_deleted_account_can_not_log_in_and_its_name_is_not_given_out_again(
        self, nobody: aiohttp.ClientSession, root: aiohttp.ClientSession
    ) -> None:
        await root.delete("/user/ada")

        async with nobody.post("/token", json={"user": "ada", "password": PASSWORD}) as response:
            await problem_of(response, 401)
        async with root.post("/user", json={"user": "ada", "password": "12345678"}) as response:
            await problem_of(response, 409)


class TestKeys:
    async def test_the_public_keys_verify_a_token(self, nobody: aiohttp.ClientSession) -> None:
        token = (await logged_in(nobody))["access_token"]
        async with nobody.get("/.well-known/jwks.json") as response:
            keys = jwt.PyJWKSet.from_dict(await response.json())

        key = keys[jwt.get_unverified_header(token)["kid"]]
        claims = jwt.decode(token, key.key, algorithms=["EdDSA"], audience="isoline", issuer="isoline")
        assert claims["sub"] == "ada"

    async def test_the_jwks_has_no_private_key(self, nobody: aiohttp.ClientSession) -> None:
        async with nobody.get("/.well-known/jwks.json") as response:
            document = await response.json()

        assert [key.keys() for key in document["keys"]] == [{"kty", "crv", "x", "kid", "use", "alg"}]

    def test_tokens_of_a_key_stay_valid_after_one_rotation_and_not_after_two(self) -> None:
        def tokens(key: str) -> AccessTokens:
            return AccessTokens(key=key, issuer="isoline", audience="isoline", lifetime_s=900)

        once = rotate_keys(TOKEN_KEY)
        twice = rotate_keys(once)
        token = tokens(TOKEN_KEY).issue("ada", [Role.USER], now=datetime.now(UTC))

        assert tokens(once).verify(token, now=time.time()).caller.name == "ada"
        with pytest.raises(InvalidTokenError):
            tokens(twice).verify(token, now=time.time())
        new = tokens(once).issue("ada", [Role.USER], now=datetime.now(UTC))
        with pytest.raises(InvalidTokenError):
            tokens(TOKEN_KEY).verify(new, now=time.time())


class TestGuessing:
    async def test_guessing_is_throttled_while_the_owner_logs_in_elsewhere(
        self, database: Database, broker: InProcessBroker, gateway: str
    ) -> None:
        del gateway  # it has made the accounts
        settings = GatewayOnlySettings(host="127.0.0.1", port=0, trusted_proxies=1)
        wrong = {"user": "ada", "password": secrets.token_hex(8)}
        right = {"user": "ada", "password": PASSWORD}
        elsewhere = {"X-Forwarded-For": "192.0.2.77"}
        async with (
            open_test_gateway(database, broker.publisher(), settings=settings) as address,
            open_client(address) as client,
        ):
            statuses = []
            for _ in range(8):
                async with client.post("/token", json=wrong) as response:
                    statuses.append(response.status)
            async with client.post("/token", json=right) as response:
                problem = await problem_of(response, 429)
                retry_after = response.headers["Retry-After"]
            async with client.post("/token", json=right, headers=elsewhere) as response:
                owner_elsewhere = response.status

        assert statuses == [401] * 5 + [429] * 3
        assert retry_after == "1"
        assert problem["detail"].startswith("Too many logins with a wrong password")
        assert owner_elsewhere == 200

    async def test_a_hash_of_weaker_parameters_is_renewed_by_a_login(
        self, nobody: aiohttp.ClientSession, database: Database
    ) -> None:
        accounts = PostgresAccountStore(database)
        before = await accounts.find("ada")

        await logged_in(nobody)

        after = await accounts.find("ada")
        assert before
        assert after
        assert "m=8,t=1,p=1" in before.password_hash
        assert "m=19456,t=2,p=1" in after.password_hash
        await logged_in(nobody)
