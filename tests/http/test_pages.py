"""Pages for browsers: how their files are served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.http.conftest import problem_of

if TYPE_CHECKING:
    import aiohttp


@pytest.mark.parametrize(
    "path",
    [
        *("/ops", "/pages/ops/page.js", "/pages/parts/style.css", "/pages/parts/icon.svg"),
        *("/docs/events", "/pages/events/page.js"),
    ],
)
async def test_runs_nothing_inline_and_nothing_of_another_host(
    nobody_alone: aiohttp.ClientSession, path: str
) -> None:
    async with nobody_alone.get(path) as response:
        policy = response.headers["Content-Security-Policy"]

    assert response.status == 200
    assert policy.startswith("default-src 'self'; ")
    assert "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_file_that_the_browser_has_is_not_sent_again(nobody_alone: aiohttp.ClientSession) -> None:
    async with nobody_alone.get("/pages/ops/page.js") as response:
        tag = response.headers["ETag"]
    async with nobody_alone.get("/pages/ops/page.js", headers={"If-None-Match": tag}) as again:
        assert (again.status, await again.read()) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/pages/ops/none.js",
        "/pages/none/page.js",
        "/pages/ops/..%2Fhandlers.py",
        "/pages/..%2Fpages/routes.py",
    ],
)
async def test_only_files_of_pages_are_served(nobody_alone: aiohttp.ClientSession, path: str) -> None:
    async with nobody_alone.get(path) as response:
        await problem_of(response, 404)
