from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.http.conftest import PASSWORD, problem_of
from tests.support.builders import an_ecg_body

if TYPE_CHECKING:
    import aiohttp


async def can_log_in(client: aiohttp.ClientSession, user: str, password: str) -> bool:
    async with client.post("/token", json={"user": user, "password": password}) as response:
        return response.status == 200


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
                    {"user": "both", "roles": ["admin", "user"]},
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
