from __future__ import annotations

import asyncio
import base64
import secrets
import time
from typing import TYPE_CHECKING

import pytest

from shared.runtime.settings import GatewayOnlySettings
from shared.storage.postgres.accounts import PostgresAccountStore
from tests.http.conftest import PASSWORD, TOKENS, open_client, open_test_gateway, problem_of
from tests.http.login_requests import is_taken, log_in, refresh

if TYPE_CHECKING:
    import aiohttp

    from shared.broker.in_process import InProcessBroker
    from shared.storage.pool.database import Database


class TestLoggingIn:
    async def test_a_login_returns_a_token(self, nobody: aiohttp.ClientSession) -> None:
        async with nobody.post("/token", json={"user": "ada", "password": PASSWORD}) as response:
            document = await response.json()

        assert response.status == 200
        assert response.headers["Cache-Control"] == "no-store"
        assert (document["token_type"], document["expires_in"]) == ("Bearer", 900)
        assert TOKENS.verify(document["access_token"], now=time.time()).caller.name == "ada"

    async def test_a_wrong_password_and_an_unknown_name_get_the_same_response(
        self, nobody: aiohttp.ClientSession
    ) -> None:
        responses = []
        for user, password in [("ada", "wrong"), ("zoe", PASSWORD), ("zo\0e", PASSWORD), ("", "")]:
            async with nobody.post("/token", json={"user": user, "password": password}) as response:
                responses.append((await problem_of(response, 401), response.headers["WWW-Authenticate"]))

        assert responses[0][0]["detail"] == "No account has this name and this password."
        assert responses == [responses[0]] * 4

    async def test_account_names_are_case_sensitive(self, nobody: aiohttp.ClientSession) -> None:
        async with nobody.post("/token", json={"user": "ADA", "password": PASSWORD}) as response:
            assert response.status == 401

    @pytest.mark.parametrize(
        ("body", "pointers"),
        [
            ({}, ["/user", "/password"]),
            ([], [""]),
            ({"user": 5, "password": None}, ["/user", "/password"]),
            ({"user": "ada", "password": PASSWORD, "otp": "1"}, ["/otp"]),
        ],
    )
    async def test_invalid_credentials_are_pointed_at(
        self, nobody_alone: aiohttp.ClientSession, body: object, pointers: list[str]
    ) -> None:
        async with nobody_alone.post("/token", json=body) as response:
            problem = await problem_of(response, 422)

        assert [error["pointer"] for error in problem["errors"]] == pointers

    async def test_a_large_body_of_credentials_is_a_413(self, nobody_alone: aiohttp.ClientSession) -> None:
        async with nobody_alone.post("/token", json={"user": "ada", "password": "x" * 17_000}) as response:
            problem = await problem_of(response, 413)

        assert "16384 bytes" in problem["detail"]
        assert "lead" not in problem["detail"]


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

        await log_in(nobody)

        after = await accounts.find("ada")
        assert before
        assert after
        assert "m=8,t=1,p=1" in before.password_hash
        assert "m=19456,t=2,p=1" in after.password_hash
        await log_in(nobody)


class TestRefreshTokens:
    async def test_a_login_gives_both_tokens(self, nobody: aiohttp.ClientSession) -> None:
        tokens = await log_in(nobody)

        assert tokens.keys() == {"access_token", "refresh_token", "token_type", "expires_in"}
        assert len(base64.urlsafe_b64decode(tokens["refresh_token"])) == 16 + 32

    async def test_refresh_tokens_are_rotated_again_and_again(self, nobody: aiohttp.ClientSession) -> None:
        tokens = await log_in(nobody)
        seen = {tokens["refresh_token"]}
        for _ in range(3):
            again = await refresh(nobody, tokens["refresh_token"])
            assert again
            assert again.keys() == tokens.keys()
            assert await is_taken(nobody, again["access_token"])
            tokens = again
            seen.add(tokens["refresh_token"])

        assert len(seen) == 4

    async def test_reuse_of_a_refresh_token_revokes_its_login(self, nobody: aiohttp.ClientSession) -> None:
        stolen = (await log_in(nobody))["refresh_token"]
        another = (await log_in(nobody))["refresh_token"]
        next_one = await refresh(nobody, stolen)
        assert next_one

        assert await refresh(nobody, stolen) is None

        assert await refresh(nobody, next_one["refresh_token"]) is None
        assert await refresh(nobody, another)

    async def test_of_two_concurrent_uses_one_succeeds_and_the_login_is_revoked(
        self, nobody: aiohttp.ClientSession
    ) -> None:
        token = (await log_in(nobody))["refresh_token"]

        outcomes = await asyncio.gather(refresh(nobody, token), refresh(nobody, token))

        [winner] = [outcome for outcome in outcomes if outcome]
        assert await refresh(nobody, winner["refresh_token"]) is None

    async def test_a_revoked_token_and_its_login_are_refused(self, nobody: aiohttp.ClientSession) -> None:
        first = (await log_in(nobody))["refresh_token"]
        second = await refresh(nobody, first)
        assert second

        for _ in range(2):
            async with nobody.post("/token/revoke", json={"refresh_token": first}) as response:
                assert response.status == 204
                assert await response.read() == b""

        assert await refresh(nobody, second["refresh_token"]) is None

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
        assert await refresh(nobody, token) is None
        async with nobody.post("/token/revoke", json={"refresh_token": token}) as response:
            assert response.status == 204

    async def test_an_access_token_is_no_refresh_token_nor_the_other_way_round(
        self, nobody: aiohttp.ClientSession
    ) -> None:
        tokens = await log_in(nobody)

        assert await refresh(nobody, tokens["access_token"]) is None
        assert not await is_taken(nobody, tokens["refresh_token"])

    async def test_the_database_stores_no_token(
        self, nobody: aiohttp.ClientSession, database: Database
    ) -> None:
        token = (await log_in(nobody))["refresh_token"]

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
