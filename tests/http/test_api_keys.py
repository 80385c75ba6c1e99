"""API keys: created, listed and revoked over HTTP, and taken wherever a token is."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID, uuid4

import aiohttp
import pytest

from gateway.api_keys.handlers import _account_of
from gateway.api_keys.use_cases import create_api_key
from gateway.app import ROUTES
from gateway.http.caller import Caller
from gateway.ops import overview_feed
from isoline import client as isoline_client
from shared.domain.account import Account, Role
from shared.domain.api_key import is_secret, new_secret
from shared.domain.errors import DeniedError
from shared.runtime.settings import GatewayOnlySettings
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.postgres.api_keys import PostgresApiKeyStore
from tests.http.conftest import (
    TOKENS,
    open_client,
    open_test_gateway,
    problem_of,
)
from tests.support.builders import an_ecg_body
from tests.support.logs import capture_logs
from tests.support.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.http.request import Request
    from shared.broker.in_process import InProcessBroker
    from shared.ports.api_keys import FoundApiKey
    from shared.storage.pool.database import Database

_REVOCATION_S: Final = 0.4
_REFUSED: Final = "The API key is not valid, or no longer: get a new one from POST /key."


def a_key_body(**fields: object) -> dict[str, object]:
    return {"name": "a monitor", "roles": ["user"], **fields}


async def created(client: aiohttp.ClientSession, **fields: object) -> dict[str, Any]:
    async with client.post("/key", json=a_key_body(**fields)) as response:
        assert response.status == 201, await response.text()
        assert response.headers["Cache-Control"] == "no-store"
        key: dict[str, Any] = await response.json()
    return key


async def listed(client: aiohttp.ClientSession, **query: str) -> list[dict[str, Any]]:
    headers = {"Accept-Encoding": "identity"}
    async with client.get("/key", params=query, headers=headers) as response:
        assert response.status == 200
        keys: list[dict[str, Any]] = (await response.json())["keys"]
    return keys


async def status_with(address: str, key: str, method: str = "GET", path: str = "/ecg/none") -> int:
    async with open_with_key(address, key) as client, client.request(method, path) as response:
        return response.status


@asynccontextmanager
async def open_with_key(address: str, key: str) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(address, headers=headers) as client:
        yield client


@asynccontextmanager
async def open_both(gateway: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with open_client(gateway, "both") as client:
        yield client


class TestCreating:
    async def test_a_key_is_shown_once_and_then_listed_without_its_secret(
        self, ada: aiohttp.ClientSession
    ) -> None:
        key = await created(ada, expires_in_days=90)

        [shown] = await listed(ada)
        assert is_secret(key["key"])
        assert key.pop("key").startswith(key["prefix"])
        assert shown == key
        assert key.keys() == {
            *("id", "user", "name", "prefix", "roles", "created_at", "expires_at", "last_used_at")
        }
        assert (key["user"], key["name"], key["roles"]) == ("ada", "a monitor", ["user"])
        assert key["last_used_at"] is None
        created_at, expires_at = (datetime.fromisoformat(key[name]) for name in ("created_at", "expires_at"))
        assert expires_at - created_at == timedelta(days=90)

    async def test_without_a_lifetime_it_does_not_expire(self, ada: aiohttp.ClientSession) -> None:
        assert (await created(ada))["expires_at"] is None

    async def test_an_administrator_creates_one_for_another_account(
        self, gateway: str, root: aiohttp.ClientSession, ada: aiohttp.ClientSession
    ) -> None:
        key = await created(root, user="ada")

        assert [each["id"] for each in await listed(ada)] == [key["id"]]
        assert await listed(root, user="ada") == await listed(ada)
        assert await listed(root) == []
        assert await status_with(gateway, key["key"]) == 404

    async def test_nobody_else_creates_or_lists_keys_of_another_account(
        self, ada: aiohttp.ClientSession
    ) -> None:
        for user in ("bob", "nobody.known"):
            async with ada.post("/key", json=a_key_body(user=user)) as response:
                posted = await problem_of(response, 403)
            async with ada.get("/key", params={"user": user}) as response:
                got = await problem_of(response, 403)

            assert (
                posted["detail"] == got["detail"] == "This needs the role admin, or to be your own account."
            )

    async def test_an_account_that_does_not_exist_has_none(self, root: aiohttp.ClientSession) -> None:
        async with root.post("/key", json=a_key_body(user="nobody.known")) as response:
            posted = await problem_of(response, 404)
        async with root.get("/key", params={"user": "nobody.known"}) as response:
            await problem_of(response, 404)

        assert posted["detail"] == "There is no account named nobody.known."

    async def test_a_role_that_the_account_lacks_is_refused(self, ada: aiohttp.ClientSession) -> None:
        async with ada.post("/key", json=a_key_body(roles=["user", "subscriber", "operator"])) as response:
            problem = await problem_of(response, 403)

        assert problem["detail"] == "The account ada does not have the role operator, subscriber."
        assert await listed(ada) == []

    @pytest.mark.parametrize(
        ("fields", "pointer", "detail"),
        [
            (
                {"roles": ["admin"]},
                "/roles/0",
                "expected 'user', 'operator', 'observer' or 'subscriber'",
            ),
            ({"roles": []}, "/roles", "expected 1 or more, found 0"),
            ({"roles": ["user"] * 5}, "/roles", "expected 4 or fewer, found 5"),
            ({"roles": "user"}, "/roles", "expected a valid list, found a string"),
            ({"expires_in_days": 0}, "/expires_in_days", "expected a number greater than or equal to 1"),
            ({"expires_in_days": 1826}, "/expires_in_days", "expected a number less than or equal to 1825"),
            (
                {"expires_in_days": 10**30},
                "/expires_in_days",
                "expected a valid integer, found a number with a fraction or past 64 bits",
            ),
            ({"expires_in_days": "90"}, "/expires_in_days", "expected a valid integer, found a string"),
            ({"expires_in_days": True}, "/expires_in_days", "expected a valid integer, found a boolean"),
            ({"expires_in_days": None}, "/expires_in_days", "expected a valid integer, found null"),
            ({"name": 5}, "/name", "expected a valid string, found an integer"),
            ({"user": "a b"}, "/user", "expected a text that matches ^[A-Za-z0-9._@-]{1,64}$"),
            ({"key": "isk_mine"}, "/key", "this field is not known here"),
        ],
    )
    async def test_an_invalid_field_is_pointed_at(
        self, ada_alone: aiohttp.ClientSession, fields: dict[str, object], pointer: str, detail: str
    ) -> None:
        async with ada_alone.post("/key", json=a_key_body(**fields)) as response:
            problem = await problem_of(response, 422)

        assert problem["errors"] == [{"pointer": pointer, "detail": detail}]

    @pytest.mark.parametrize("name", ["", " x", "x" * 65, "a\nb", "a\0", "\x1b[31m", "\x85"])
    async def test_a_name_that_no_list_can_show_is_refused(
        self, ada_alone: aiohttp.ClientSession, name: str
    ) -> None:
        async with ada_alone.post("/key", json=a_key_body(name=name)) as response:
            problem = await problem_of(response, 422)

        assert [error["pointer"] for error in problem["errors"]] == ["/name"]

    @pytest.mark.parametrize("name", ["x", "x" * 64, "Überwachung 3, Süd", "心電図", "👩‍⚕️ & co"])
    async def test_a_name_may_be_of_any_language(self, ada: aiohttp.ClientSession, name: str) -> None:
        assert (await created(ada, name=name))["name"] == name
        assert [key["name"] for key in await listed(ada)] == [name]

    async def test_too_large_and_truncated_bodies_are_refused(self, ada_alone: aiohttp.ClientSession) -> None:
        headers = {"Content-Type": "application/json"}
        async with ada_alone.post("/key", json=a_key_body(name="x" * 20_000)) as response:
            await problem_of(response, 413)
        async with ada_alone.post("/key", data=b'{"name": "x', headers=headers) as response:
            await problem_of(response, 400)

    async def test_an_account_has_a_hundred_keys_at_the_most_and_room_again_after_one_was_revoked(
        self, ada: aiohttp.ClientSession, bob: aiohttp.ClientSession
    ) -> None:
        keys = [await created(ada) for _ in range(100)]

        async with ada.post("/key", json=a_key_body()) as response:
            problem = await problem_of(response, 409)
        await created(bob)
        async with ada.delete(f"/key/{keys[0]['id']}") as response:
            assert response.status == 204
        await created(ada)

        assert problem["detail"] == "The account ada has 100 API keys, the most; revoke one first."
        assert len(await listed(ada)) == 100

    async def test_two_keys_may_have_one_name(self, ada: aiohttp.ClientSession) -> None:
        assert len({(await created(ada))["key"] for _ in range(2)}) == 2

    async def test_an_account_that_is_not_kept_here_has_none(self, gateway: str) -> None:
        token = TOKENS.issue("elsewhere", [Role.USER], now=datetime.now(UTC))
        async with (
            open_with_key(gateway, token) as client,
            client.post("/key", json=a_key_body()) as response,
        ):
            problem = await problem_of(response, 404)

        assert problem["detail"] == "There is no account named elsewhere."

    def test_an_account_of_another_issuer_has_none_but_may_administer_others(self) -> None:
        caller = Caller("https://issuer.test#eve", frozenset([Role.ADMIN]))
        request = cast("Request", SimpleNamespace(caller=caller))

        with pytest.raises(DeniedError, match="kept by another issuer"):
            _account_of(request, None)
        assert _account_of(request, "ada") == "ada"


class TestUsing:
    async def test_a_key_submits_and_reads_as_its_account(
        self, gateway: str, ada: aiohttp.ClientSession
    ) -> None:
        key = await created(ada)

        async with open_with_key(gateway, key["key"]) as monitor:
            async with monitor.post("/ecg/process", json=an_ecg_body(id="10")) as response:
                assert response.status == 202
            async with monitor.get("/ecg/10") as response:
                assert response.status == 200
        async with ada.get("/ecg/10") as response:
            assert response.status == 200

    async def test_it_has_its_roles_and_not_the_others_of_its_account(self, gateway: str) -> None:
        async with open_both(gateway) as both:
            observers = await created(both, roles=["observer"])
            users = await created(both)

        assert await status_with(gateway, observers["key"], path="/ops/api/processes") == 200
        assert await status_with(gateway, users["key"], path="/ops/api/processes") == 403
        async with (
            open_with_key(gateway, observers["key"]) as client,
            client.get("/ecg/none") as response,
        ):
            problem = await problem_of(response, 403)
        assert problem["detail"] == "This needs the role user; your API key has observer."

    def test_all_routes_take_keys_but_those_of_accounts_and_keys(self) -> None:
        for route in ROUTES:
            if route.roles:
                assert route.takes_api_keys != route.path.startswith(("/user", "/key")), route.path

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/key"),
            ("GET", "/key"),
            ("DELETE", f"/key/{UUID(int=0)}"),
            ("PUT", "/user/both/password"),
        ],
    )
    async def test_a_key_makes_no_keys_and_changes_no_password(
        self, gateway: str, method: str, path: str
    ) -> None:
        async with open_both(gateway) as both:
            key = await created(both)
        async with (
            open_with_key(gateway, key["key"]) as client,
            client.request(method, path, json={}) as response,
        ):
            problem = await problem_of(response, 403)

        expected = "An API key can't do this: log in, and send the access_token of POST /token."
        assert problem["detail"] == expected

    async def test_a_key_of_an_administrators_account_administers_no_accounts(self, gateway: str) -> None:
        async with open_both(gateway) as both:
            key = await created(both, roles=["user", "operator", "observer", "subscriber"])

        statuses = [
            await status_with(gateway, key["key"], method, path)
            for method, path in [
                ("GET", "/user"),
                ("POST", "/user"),
                ("DELETE", "/user/ada"),
                ("PUT", "/user/ada/roles"),
            ]
        ]

        assert statuses == [403] * 4

    @pytest.mark.parametrize(
        "key",
        ["isk_", "isk_" + "0" * 46, new_secret()[:-1], "isk_" + "x" * 8000],
        ids=["prefix", "checksum", "short", "long"],
    )
    async def test_a_malformed_key_is_refused_without_the_database(
        self, nobody_alone: aiohttp.ClientSession, key: str
    ) -> None:
        async with nobody_alone.get("/ecg/10", headers={"Authorization": f"Bearer {key}"}) as response:
            problem = await problem_of(response, 401)

        assert problem["detail"] == _REFUSED
        assert response.headers["WWW-Authenticate"] == "Bearer"

    async def test_an_unknown_key_is_refused(self, gateway: str) -> None:
        assert await status_with(gateway, new_secret()) == 401

    async def test_while_the_database_is_away_a_key_that_was_not_seen_yet_is_answered_with_503(
        self, nobody_alone: aiohttp.ClientSession
    ) -> None:
        headers = {"Authorization": f"Bearer {new_secret()}"}
        async with nobody_alone.get("/ecg/10", headers=headers) as response:
            await problem_of(response, 503)

    async def test_an_expired_key_is_refused_and_stays_in_the_list(
        self, gateway: str, ada: aiohttp.ClientSession, database: Database
    ) -> None:
        key = await created(ada, expires_in_days=1)
        async with database.connection() as connection:
            await connection.execute("UPDATE api_key SET expires_at = now() - interval '1 second'")

        assert await status_with(gateway, key["key"]) == 401
        assert [each["id"] for each in await listed(ada)] == [key["id"]]

    async def test_requests_with_a_key_count_for_the_rate_limit_of_its_account(
        self, gateway: str, ada: aiohttp.ClientSession, database: Database, broker: InProcessBroker
    ) -> None:
        key = await created(ada)
        settings = GatewayOnlySettings(host="127.0.0.1", port=0, rate_per_caller=3)
        async with open_test_gateway(database, broker.publisher(), settings=settings) as limited:
            statuses = [await status_with(limited, key["key"]) for _ in range(2)]
            async with open_client(limited, "ada") as client, client.get("/ecg/none") as response:
                statuses.append(response.status)
            statuses.append(await status_with(limited, key["key"]))

        assert gateway
        assert statuses == [404, 404, 404, 429]

    async def test_many_requests_cost_one_statement_for_the_key(
        self, gateway: str, ada: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        key = await created(ada)
        found, find = [], PostgresApiKeyStore.find

        async def counted(keys: PostgresApiKeyStore, secret_hash: bytes) -> FoundApiKey | None:
            found.append(secret_hash)
            return await find(keys, secret_hash)

        monkeypatch.setattr(PostgresApiKeyStore, "find", counted)
        async with open_with_key(gateway, key["key"]) as monitor:
            for _ in range(20):
                async with monitor.get("/ecg/none") as response:
                    assert response.status == 404

        assert len(found) == 1

    async def test_the_last_use_is_listed_once_the_gateway_has_recorded_it(
        self, ada: aiohttp.ClientSession, database: Database, broker: InProcessBroker
    ) -> None:
        key = await created(ada)
        before = datetime.now(UTC)
        async with open_test_gateway(database, broker.publisher()) as other:
            assert await status_with(other, key["key"]) == 404

        [shown] = await listed(ada)
        used_at = datetime.fromisoformat(shown["last_used_at"])
        assert abs(used_at - before) < timedelta(minutes=1)

    async def test_the_python_client_takes_a_key_as_its_token(
        self, gateway: str, ada: aiohttp.ClientSession
    ) -> None:
        key = await created(ada)

        async with isoline_client.open_client(gateway, token=key["key"]) as client:
            submitted = await client.submit(an_ecg_body(id="10"))

        assert submitted.id == "10"


class TestRevoking:
    async def test_a_revoked_key_is_refused_at_once_at_the_gateway_that_did_it(
        self, gateway: str, ada: aiohttp.ClientSession
    ) -> None:
        key, other = await created(ada), await created(ada)
        before = [await status_with(gateway, each["key"]) for each in (key, other)]

        async with ada.delete(f"/key/{key['id']}") as response:
            assert response.status == 204

        assert before == [404, 404]
        assert [await status_with(gateway, each["key"]) for each in (key, other)] == [401, 404]
        assert [each["id"] for each in await listed(ada)] == [other["id"]]

    async def test_another_gateway_refuses_it_within_the_promised_time(
        self, ada: aiohttp.ClientSession, database: Database, broker: InProcessBroker
    ) -> None:
        key, other = await created(ada), await created(ada)
        settings = GatewayOnlySettings(host="127.0.0.1", port=0, revocation_s=_REVOCATION_S)
        async with open_test_gateway(database, broker.publisher(), settings=settings) as elsewhere:
            assert await status_with(elsewhere, key["key"]) == 404
            assert await status_with(elsewhere, other["key"]) == 404

            async with ada.delete(f"/key/{key['id']}") as response:
                assert response.status == 204

            await until(lambda: _is_refused(elsewhere, key["key"]))
            assert await status_with(elsewhere, other["key"]) == 404

    async def test_another_users_key_looks_like_none(
        self, gateway: str, ada: aiohttp.ClientSession, bob: aiohttp.ClientSession
    ) -> None:
        key = await created(ada)

        problems = []
        for key_id in (key["id"], str(uuid4()), "10", "x" * 500):
            async with bob.delete(f"/key/{key_id}") as response:
                problems.append((await problem_of(response, 404))["detail"])

        assert set(problems) == {"There is no API key of this id."}
        assert await status_with(gateway, key["key"]) == 404

    async def test_an_administrator_revokes_any(
        self, gateway: str, ada: aiohttp.ClientSession, root: aiohttp.ClientSession
    ) -> None:
        key = await created(ada)

        async with root.delete(f"/key/{key['id']}") as response:
            assert response.status == 204

        assert await status_with(gateway, key["key"]) == 401

    async def test_revoking_one_twice_is_404(self, ada: aiohttp.ClientSession) -> None:
        key = await created(ada)

        statuses = []
        for _ in range(2):
            async with ada.delete(f"/key/{key['id']}") as response:
                statuses.append(response.status)

        assert statuses == [204, 404]

    async def test_it_ends_no_access_token(self, gateway: str, ada: aiohttp.ClientSession) -> None:
        key = await created(ada)
        await ada.delete(f"/key/{key['id']}")

        async with open_client(gateway, "ada") as client, client.get("/ecg/none") as response:
            assert response.status == 404

    async def test_with_its_account_a_key_ends_or_loses_its_roles(
        self,
        ada: aiohttp.ClientSession,
        bob: aiohttp.ClientSession,
        database: Database,
        broker: InProcessBroker,
    ) -> None:
        adas, bobs = await created(ada), await created(bob)
        settings = GatewayOnlySettings(host="127.0.0.1", port=0, revocation_s=_REVOCATION_S)
        async with open_test_gateway(database, broker.publisher(), settings=settings) as elsewhere:
            assert [await status_with(elsewhere, each["key"]) for each in (adas, bobs)] == [404, 404]

            accounts = PostgresAccountStore(database)
            await accounts.delete("ada")
            await accounts.set_roles("bob", [Role.SUBSCRIBER])

            await until(lambda: _is_refused(elsewhere, adas["key"]))
            await until(lambda: _is_refused(elsewhere, bobs["key"], 403))


class TestStreams:
    @pytest.mark.parametrize("change", ["the key is revoked", "the account loses a role"])
    async def test_a_stream_ends_when_its_key_may_no_longer_do_what_it_did_at_its_beginning(
        self, database: Database, broker: InProcessBroker, monkeypatch: pytest.MonkeyPatch, change: str
    ) -> None:
        monkeypatch.setattr(overview_feed, "_EVERY_S", 0.05)
        accounts, keys = PostgresAccountStore(database), PostgresApiKeyStore(database)
        roles = [Role.OBSERVER, Role.SUBSCRIBER]
        await accounts.add(Account("otto", "hash", frozenset(roles)))
        created_key = await create_api_key(
            "otto", "a screen", roles=roles, lifetime_days=None, keys=keys, accounts=accounts
        )
        settings = GatewayOnlySettings(host="127.0.0.1", port=0, revocation_s=_REVOCATION_S)
        async with (
            asyncio.timeout(30),
            open_test_gateway(database, broker.publisher(), settings=settings) as address,
            open_with_key(address, created_key.secret) as client,
            client.get("/ops/api/stream") as response,
        ):
            assert response.status == 200
            assert (await response.content.readline()).startswith(b"event: overview")
            if change == "the key is revoked":
                await keys.revoke(created_key.key.id, account="otto")
            else:
                await accounts.set_roles("otto", [Role.OBSERVER])
            rest = await response.content.read()

        last = rest.decode().strip().split("\n\n")[-1]
        assert last.startswith("event: end")
        assert (
            "API key is not valid" if "revoked" in change else "roles of your API key have changed"
        ) in last


async def _is_refused(address: str, key: str, status: int = 401) -> bool:
    return await status_with(address, key) == status


class TestSecrecy:
    async def test_no_log_record_and_no_error_repeats_a_key(
        self, gateway: str, ada: aiohttp.ClientSession
    ) -> None:
        with capture_logs() as records:
            key = (await created(ada))["key"]
            unknown, malformed = new_secret(), new_secret()[:-1]
            texts = []
            async with aiohttp.ClientSession(gateway) as client:
                for sent in (key, unknown, malformed):
                    headers = {"Authorization": f"Bearer {sent}"}
                    for method, path in (("GET", "/ecg/none"), ("POST", "/key"), ("GET", "/user")):
                        async with client.request(method, path, headers=headers, json={}) as response:
                            texts.append(await response.text())
            async with ada.post("/key", json=a_key_body(key=key, name=key)) as response:
                texts.append(await response.text())
            async with ada.delete(f"/key/{key}") as response:
                texts.append(await response.text())

        logged = json.dumps(records, default=str)
        reasons = {record.get("reason") for record in records if record["message"] == "a token was refused"}
        assert reasons == {
            "it is an API key that does not exist, or no longer",
            "it is an API key that was refused a short while ago",
            "it is no API key, but begins like one",
        }
        for secret in (key, unknown, malformed):
            assert secret[12:] not in logged
            assert not [text for text in texts if secret[12:] in text]
        assert not re.search("isk_[0-9A-Za-z]{9}", logged)
