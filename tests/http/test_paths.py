"""Paths, methods, request ids and unexpected exceptions, whatever the route."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from yarl import URL

from tests.http.conftest import problem_of

if TYPE_CHECKING:
    import aiohttp


class TestPaths:
    @pytest.mark.parametrize("path", ["/", "/ecgs", "/ecg/", "/ecg/a/b", "/user/ada/x", "/%00", "/token/"])
    async def test_an_unknown_path_is_a_problem(self, nobody: aiohttp.ClientSession, path: str) -> None:
        async with nobody.get(URL(path, encoded=True)) as response:
            problem = await problem_of(response, 404)

        assert problem["detail"] == "There is nothing at this path."

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("GET", "/token", "POST"),
            ("DELETE", "/user", "GET, HEAD, POST"),
            ("PUT", "/ecg/process", "POST"),
            ("POST", "/ecg/10", "DELETE, GET, HEAD"),
            ("POST", "/health/live", "GET, HEAD"),
        ],
    )
    async def test_an_unsupported_method_is_a_405_with_allow(
        self, nobody: aiohttp.ClientSession, method: str, path: str, allowed: str
    ) -> None:
        async with nobody.request(method, path) as response:
            problem = await problem_of(response, 405)

        assert response.headers["Allow"] == allowed
        assert problem["detail"] == f"This path takes {allowed}."

    async def test_each_response_has_its_own_request_id(self, ada: aiohttp.ClientSession) -> None:
        ids = set()
        for path in ("/health/live", "/health/live", "/ecg/10", "/nowhere"):
            async with ada.get(path) as response:
                ids.add(response.headers["X-Request-Id"])

        assert len(ids) == 4

    async def test_an_unexpected_exception_is_a_500_without_detail(
        self, ada: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def broken(*_: object) -> None:
            raise RuntimeError("canary")

        monkeypatch.setattr("shared.storage.postgres.ecgs.PostgresEcgStore.find", broken)

        async with ada.get("/ecg/10") as response:
            problem = await problem_of(response, 500)

        assert problem["detail"] == "Something in Isoline failed; the request may be sent again."
