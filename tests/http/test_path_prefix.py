"""A gateway behind a proxy that strips a path prefix."""

from __future__ import annotations

import gzip
import json
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import aiohttp
import pytest
from aiohttp import web

from isoline.client import open_client as open_python_client
from shared.broker.in_process import InProcessBroker
from shared.domain.account import Role
from shared.runtime.settings import GatewayOnlySettings
from tests.http.conftest import TOKENS, open_client, open_gateway_alone, open_test_gateway
from tests.support.builders import an_ecg_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.storage.pool.database import Database

_PREFIX = "/labs/isoline"


@asynccontextmanager
async def a_proxy(gateway: str) -> AsyncIterator[str]:
    """The URL of a gateway behind a proxy; its host serves nothing else."""
    async with aiohttp.ClientSession(auto_decompress=False) as session:

        async def pass_on(request: web.Request) -> web.Response:
            async with session.request(
                request.method,
                f"{gateway}{request.raw_path.removeprefix(_PREFIX)}",
                headers=request.headers,
                data=await request.read(),
            ) as response:
                return web.Response(
                    status=response.status, headers=response.headers, body=await response.read()
                )

        app = web.Application()
        app.router.add_route("*", f"{_PREFIX}/{{path:.*}}", pass_on)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}{_PREFIX}"
        finally:
            await runner.cleanup()


@pytest.fixture
async def below(database: Database) -> AsyncIterator[str]:
    settings = GatewayOnlySettings(host="127.0.0.1", port=0, path_prefix=_PREFIX)
    async with (
        open_test_gateway(database, InProcessBroker().publisher(), settings=settings) as gateway,
        a_proxy(gateway) as address,
    ):
        yield address


@pytest.mark.parametrize("headers", [{}, {"If-None-Match": '"x"'}])
async def test_the_location_has_the_path_prefix(below: str, headers: dict[str, str]) -> None:
    async with open_client(f"{below}/", "ada") as ada:
        async with ada.post("ecg/process", json=an_ecg_body(id="10"), headers=headers) as submitted:
            location = submitted.headers["Location"]
        async with ada.get(urljoin(below, location)) as found:
            assert (await found.json())["id"] == "10"

    assert (submitted.status, location) == (202, f"{_PREFIX}/ecg/10")


async def test_the_python_client_works_below_a_path(below: str) -> None:
    token = TOKENS.issue("ada", [Role.USER], now=datetime.now(UTC))
    async with open_python_client(below, token=token) as client:
        await client.submit(an_ecg_body(id="10"))

        assert [ecg.id async for ecg in client.list()] == ["10"]
        assert await client.delete("10")


async def test_the_contract_and_its_page_have_the_path_prefix(below: str) -> None:
    async with open_client(f"{below}/") as nobody:
        contract = await _text(nobody, f"{below}/openapi.json")
        page = await _text(nobody, f"{below}/docs")
        script = await _text(nobody, f"{below}/docs/page.js")
        linked = [
            *re.findall(r'(?:src|href)="(?!data:)([^"]+)"', page),
            *re.findall(r'url: "([^"]+)"', script),
        ]
        for link in linked:
            await _text(nobody, urljoin(f"{below}/docs", link))

    assert json.loads(contract)["servers"] == [{"url": _PREFIX}]
    assert len(linked) == 5


@pytest.mark.parametrize(("path", "files"), [("ops", 20), ("docs/events", 8)])
async def test_a_page_loads_all_of_its_files_below_the_path_prefix(below: str, path: str, files: int) -> None:
    async with open_client(f"{below}/") as nobody:
        page = await _text(nobody, f"{below}/{path}")
        linked = re.findall(r'(?:src|href)="([^"]+)"', page.partition("<body>")[0])
        waiting = [urljoin(f"{below}/{path}", link) for link in linked]
        loaded = set()
        while waiting:
            loaded.add(url := waiting.pop())
            imports = re.findall(r'from "([^"]+)"', await _text(nobody, url))
            waiting += {urljoin(url, link) for link in imports}.difference(loaded)

    assert {url.removeprefix(below).split("/")[1] for url in loaded} == {"pages"}
    assert len(loaded) > files


@pytest.mark.parametrize(
    "headers", [{"X-Forwarded-Prefix": "/evil"}, {"X-Forwarded-Prefix": "//evil.example"}]
)
async def test_a_client_can_not_choose_the_path_prefix(headers: dict[str, str]) -> None:
    async with open_gateway_alone(trusted_proxies=1) as address, open_client(address) as nobody:
        contract = await _text(nobody, "/openapi.json", **headers)

    assert json.loads(contract)["servers"] == [{"url": "/"}]


async def _text(client: aiohttp.ClientSession, url: str, **headers: str) -> str:
    async with client.get(url, headers=headers) as response:
        assert response.status == 200, url
        body = await response.read()
        return (
            gzip.decompress(body) if response.headers.get("Content-Encoding") == "gzip" else body
        ).decode()
