"""Requests that log in, refresh a login, and use an access token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.http.conftest import PASSWORD, problem_of

if TYPE_CHECKING:
    import aiohttp

_NOT_VALID = "The refresh token is not valid, or no longer: log in with POST /token."


async def log_in(
    client: aiohttp.ClientSession, user: str = "ada", password: str = PASSWORD
) -> dict[str, Any]:
    async with client.post("/token", json={"user": user, "password": password}) as response:
        assert response.status == 200
        tokens: dict[str, Any] = await response.json()
    return tokens


async def refresh(client: aiohttp.ClientSession, token: str) -> dict[str, Any] | None:
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
