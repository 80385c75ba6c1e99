from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from shared.domain.account import Role
from shared.runtime.settings import GatewayOnlySettings
from tests.http.conftest import PASSWORD, TOKENS, open_client, open_test_gateway, problem_of
from tests.http.login_requests import is_taken, log_in, refresh
from tests.support.builders import an_ecg_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from shared.broker.in_process import InProcessBroker
    from shared.storage.pool.database import Database

_CANARY = "canary-of-a-secret"
_REVOCATION_S = 0.4


@pytest.fixture
async def quick_to_revoke(
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


async def can_log_in(client: aiohttp.ClientSession, user: str, password: str) -> bool:
    async with client.post("/token", json={"user": user, "password": password}) as response:
        return response.status == 200


class TestCreating:
    async def test_an_account_has_the_role_user_by_default(self, root: aiohttp.ClientSession) -> None:
        async with root.post("/user", json={"user": "eve", "password": "12345678"}) as response:
            document = await response.json()

        assert response.status == 201
        assert document == {"user": "eve", "roles": ["user"]}

    async def test_a_new_account_can_log_in_with_its_roles(
        self, root: aiohttp.ClientSession, nobody: aiohttp.ClientSession
    ) -> None:
        account = {"user": "eve", "password": "pässwörd \0", "roles": ["admin", "user"]}
        await root.post("/user", json=account)

        async with nobody.post("/token", json={"user": "eve", "password": "pässwörd \0"}) as response:
            token = (await response.json())["access_token"]

        assert TOKENS.verify(token, now=time.time()).caller.roles == {Role.ADMIN, Role.USER}

    async def test_a_taken_name_is_a_conflict_and_keeps_its_password(
        self, root: aiohttp.ClientSession, nobody: aiohttp.ClientSession
    ) -> None:
        async with root.post("/user", json={"user": "ada", "password": "another one"}) as response:
            problem = await problem_of(response, 409)
        async with nobody.post("/token", json={"user": "ada", "password": PASSWORD}) as response:
            logged_in = response.status

        assert problem["detail"] == "The name ada is taken, or was, and is not given out again."
        assert logged_in == 200

    @pytest.mark.parametrize(
        ("fields", "pointer", "detail"),
        [
            ({"password": "1234567"}, "/password", "expected 8 characters or more"),
            ({"password": "x" * 129}, "/password", "expected at most 128 characters"),
            ({"password": 12345678}, "/password", "expected a valid string, found an integer"),
            (
                {"roles": ["emperor"]},
                "/roles/0",
                "expected 'user', 'admin', 'operator', 'observer' or 'subscriber'",
            ),
            ({"roles": []}, "/roles", "expected 1 or more, found 0"),
            ({"roles": "user"}, "/roles", "expected a valid list, found a string"),
            ({"user": ""}, "/user", "expected a text that matches ^[A-Za-z0-9._@-]{1,64}$"),
            ({"user": "a b"}, "/user", "expected a text that matches ^[A-Za-z0-9._@-]{1,64}$"),
            ({"user": "a\0"}, "/user", "expected a text that matches ^[A-Za-z0-9._@-]{1,64}$"),
            ({"user": "a\n"}, "/user", "expected a text that matches ^[A-Za-z0-9._@-]{1,64}$"),
            ({"user": "."}, "/user", "expected a name other than . and .., which clients drop from a path"),
            ({"user": ".."}, "/user", "expected a name other than . and .., which clients drop from a path"),
            ({"user": "x" * 65}, "/user", "expected a text that matches ^[A-Za-z0-9._@-]{1,64}$"),
            ({"admin": True}, "/admin", "this field is not known here"),
        ],
    )
    async def test_an_invalid_field_is_pointed_at(
        self, root_alone: aiohttp.ClientSession, fields: dict[str, object], pointer: str, detail: str
    ) -> None:
        async with root_alone.post(
            "/user", json={"user": "eve", "password": "12345678", **fields}
        ) as response:
            problem = await problem_of(response, 422)

        assert problem["errors"] == [{"pointer": pointer, "detail": detail}]

    async def test_a_refused_password_is_not_quoted(self, root_alone: aiohttp.ClientSession) -> None:
        account = {"user": _CANARY + " ", "password": _CANARY * 10, "roles": [_CANARY]}

        async with root_alone.post("/user", json=account) as response:
            assert _CANARY not in await response.text()


class TestListing:
    async def test_accounts_are_listed_by_name_without_their_passwords(
        self, root: aiohttp.ClientSession
    ) -> None:
        async with root.get("/user") as response:
            assert response.status == 200
            assert await response.json() == {
                "users": [
                    {"user": "ada", "roles": ["user"]},
                    {"user": "bob", "roles": ["user"]},
                    {"user": "both", "roles": ["admin", "observer", "operator", "subscriber", "user"]},
                    {"user": "root", "roles": ["admin"]},
                ]
            }

    async def test_pages_are_followed_by_their_cursor(self, root: aiohttp.ClientSession) -> None:
        names, query = [], {"limit": "3"}
        while True:
            async with root.get("/user", params=query) as response:
                page = await response.json()
            names += [shown["user"] for shown in page["users"]]
            if "next_cursor" not in page:
                break
            query["cursor"] = page["next_cursor"]

        assert names == ["ada", "bob", "both", "root"]

    @pytest.mark.parametrize(
        "query", [{"limit": "0"}, {"limit": "1001"}, {"limit": "x"}, {"limit": "-1"}, {"cursor": "a b"}]
    )
    async def test_an_invalid_page_query_is_a_400(
        self, root_alone: aiohttp.ClientSession, query: dict[str, str]
    ) -> None:
        async with root_alone.get("/user", params=query) as response:
            await problem_of(response, 400)


class TestChanging:
    async def test_an_admin_changes_roles(
        self, root: aiohttp.ClientSession, nobody: aiohttp.ClientSession
    ) -> None:
        async with root.put("/user/ada/roles", json={"roles": ["user", "admin"]}) as response:
            assert await response.json() == {"user": "ada", "roles": ["admin", "user"]}

        assert await can_log_in(nobody, "ada", PASSWORD)

    async def test_an_admin_changes_a_password(
        self, root: aiohttp.ClientSession, nobody: aiohttp.ClientSession
    ) -> None:
        async with root.put("/user/ada/password", json={"password": "another one"}) as response:
            assert response.status == 204

        assert await can_log_in(nobody, "ada", "another one")
        assert not await can_log_in(nobody, "ada", PASSWORD)

    async def test_a_user_changes_their_own_password_with_the_present_one(
        self, ada: aiohttp.ClientSession, nobody: aiohttp.ClientSession
    ) -> None:
        body = {"password": "another one", "current_password": PASSWORD}

        async with ada.put("/user/ada/password", json=body) as response:
            assert response.status == 204

        assert await can_log_in(nobody, "ada", "another one")

    @pytest.mark.parametrize(
        ("current", "detail"),
        [
            ({}, "Changing your own password needs current_password."),
            ({"current_password": "wrong"}, "The current_password is wrong."),
        ],
    )
    async def test_a_stolen_session_can_not_change_the_password(
        self,
        ada: aiohttp.ClientSession,
        nobody: aiohttp.ClientSession,
        current: dict[str, str],
        detail: str,
    ) -> None:
        async with ada.put("/user/ada/password", json={"password": "another one", **current}) as response:
            problem = await problem_of(response, 403)

        assert problem["detail"] == detail
        assert await can_log_in(nobody, "ada", PASSWORD)

    async def test_an_admin_too_needs_their_own_present_password(self, root: aiohttp.ClientSession) -> None:
        async with root.put("/user/root/password", json={"password": "another one"}) as response:
            await problem_of(response, 403)

    async def test_guessing_the_present_password_is_throttled(self, ada: aiohttp.ClientSession) -> None:
        body = {"password": "another one", "current_password": "wrong"}
        statuses = []
        for _ in range(7):
            async with ada.put("/user/ada/password", json=body) as response:
                statuses.append(response.status)

        assert statuses == [403] * 5 + [429] * 2

    @pytest.mark.parametrize("name", ["bob", "nobody-at-all"])
    async def test_a_user_learns_nothing_of_other_accounts(
        self, ada: aiohttp.ClientSession, name: str
    ) -> None:
        async with ada.put(f"/user/{name}/password", json={"password": "another one"}) as response:
            problem = await problem_of(response, 403)

        assert problem["detail"] == "This needs the role admin, or to be your own account."

    async def test_an_admin_deletes_an_account_and_its_ecgs_stay_out_of_reach(
        self, root: aiohttp.ClientSession, ada: aiohttp.ClientSession, bob: aiohttp.ClientSession
    ) -> None:
        await ada.post("/ecg/process", json=an_ecg_body(id="10"))

        async with root.delete("/user/ada") as response:
            assert response.status == 204

        async with bob.get("/ecg/10") as response:
            await problem_of(response, 404)
        async with root.delete("/user/ada") as response:
            assert (await problem_of(response, 404))["detail"] == "There is no account named ada."

    async def test_the_last_admin_can_not_be_removed(
        self, root: aiohttp.ClientSession, nobody: aiohttp.ClientSession
    ) -> None:
        async with root.delete("/user/both") as response:
            assert response.status == 204
        async with root.delete("/user/root") as response:
            await problem_of(response, 409)
        async with root.put("/user/root/roles", json={"roles": ["user"]}) as response:
            problem = await problem_of(response, 409)

        assert problem["detail"] == "root is the last administrator; make another one first."
        assert await can_log_in(nobody, "root", PASSWORD)

    @pytest.mark.parametrize("name", ["nobody", "a b", "%00", "x" * 65, "'; DROP TABLE account; --"])
    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("DELETE", "", None),
            ("PUT", "/roles", {"roles": ["user"]}),
            ("PUT", "/password", {"password": "another one"}),
        ],
    )
    async def test_an_unknown_account_is_a_404(
        self, root: aiohttp.ClientSession, name: str, method: str, path: str, body: Any
    ) -> None:
        async with root.request(method, f"/user/{name}{path}", json=body) as response:
            await problem_of(response, 404)

    @pytest.mark.parametrize(
        ("path", "body", "pointers"),
        [
            ("roles", {}, ["/roles"]),
            ("roles", {"roles": []}, ["/roles"]),
            ("roles", {"roles": ["emperor"]}, ["/roles/0"]),
            ("password", {}, ["/password"]),
            ("password", {"password": "short"}, ["/password"]),
            ("password", {"password": "x" * 129}, ["/password"]),
            ("password", {"password": 5, "more": 1}, ["/password", "/more"]),
        ],
    )
    async def test_all_problems_of_a_change_are_reported(
        self, root_alone: aiohttp.ClientSession, path: str, body: object, pointers: list[str]
    ) -> None:
        async with root_alone.put(f"/user/ada/{path}", json=body) as response:
            problem = await problem_of(response, 422)

        assert [error["pointer"] for error in problem["errors"]] == pointers

    @pytest.mark.parametrize(
        ("method", "path"),
        [("GET", "/user"), ("DELETE", "/user/bob"), ("PUT", "/user/bob/roles")],
    )
    async def test_a_user_is_no_admin(self, ada_alone: aiohttp.ClientSession, method: str, path: str) -> None:
        async with ada_alone.request(method, path) as response:
            await problem_of(response, 403)


class TestTokensOfAChangedAccount:
    @pytest.mark.parametrize("change", ["roles", "password", "deletion"])
    async def test_a_change_revokes_tokens_within_the_stated_time(
        self, quick_to_revoke: aiohttp.ClientSession, root: aiohttp.ClientSession, change: str
    ) -> None:
        tokens, others = await log_in(quick_to_revoke), await log_in(quick_to_revoke, "bob")
        assert await is_taken(quick_to_revoke, tokens["access_token"])

        if change == "roles":
            await root.put("/user/ada/roles", json={"roles": ["admin"]})
        elif change == "password":
            await root.put("/user/ada/password", json={"password": "another password"})
        else:
            await root.delete("/user/ada")
        refreshed_at_once = await refresh(quick_to_revoke, tokens["refresh_token"])
        await asyncio.sleep(_REVOCATION_S)

        assert refreshed_at_once is None
        assert not await is_taken(quick_to_revoke, tokens["access_token"])
        assert await is_taken(quick_to_revoke, others["access_token"])
        assert await refresh(quick_to_revoke, others["refresh_token"])

    async def test_a_login_after_the_change_is_valid_at_once(
        self, quick_to_revoke: aiohttp.ClientSession, root: aiohttp.ClientSession
    ) -> None:
        await root.put("/user/ada/roles", json={"roles": ["user", "admin"]})
        tokens = await log_in(quick_to_revoke)

        assert await is_taken(quick_to_revoke, tokens["access_token"], "/user")
        await asyncio.sleep(_REVOCATION_S)
        assert await is_taken(quick_to_revoke, tokens["access_token"], "/user")

    async def test_a_deleted_account_can_not_log_in_and_its_name_is_not_given_out_again(
        self, nobody: aiohttp.ClientSession, root: aiohttp.ClientSession
    ) -> None:
        await root.delete("/user/ada")

        async with nobody.post("/token", json={"user": "ada", "password": PASSWORD}) as response:
            await problem_of(response, 401)
        async with root.post("/user", json={"user": "ada", "password": "12345678"}) as response:
            await problem_of(response, 409)
