"""Pages of other origins: preflights, and responses that a browser lets them read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from gateway.app import ROUTES
from shared.broker.in_process import InProcessBroker
from shared.runtime.settings import GatewayOnlySettings
from tests.http.conftest import exchange, open_client, open_gateway_alone, open_test_gateway, problem_of
from tests.support.builders import an_ecg_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from shared.storage.pool.database import Database

_PAGE: Final = "https://app.example.org"
_OTHERS: Final = (
    "https://evil.example",
    "null",
    "http://app.example.org",
    "https://app.example.org:8443",
    "https://app.example.org:443",
    "https://App.example.org",
    "https://app.example.org/",
    "https://app.example.org.evil.example",
    "https://evil.app.example.org",
    "https://app.example.or",
    "",
    "*",
    "https://app.example.org, http://localhost:3000",
)
_PREFLIGHT: Final = {"Access-Control-Request-Method": "POST"}
_EXPOSED: Final = {
    *("ETag", "Location", "RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate", "X-Request-Id"),
}


@pytest.fixture(scope="module")
async def alone() -> AsyncIterator[str]:
    """A gateway without servers that lets pages of two origins call."""
    async with open_gateway_alone(
        cors_origins=f"{_PAGE},http://localhost:3000", max_body_bytes=4096, read_timeout_s=1
    ) as address:
        yield address


@pytest.fixture
async def nobody(alone: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with open_client(alone) as session:
        yield session


@pytest.fixture
async def ada(alone: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with open_client(alone, "ada") as session:
        yield session


def assert_readable(response: aiohttp.ClientResponse, origin: str = _PAGE) -> None:
    """Assert that a browser lets pages of this origin read the response, and caches it for them alone."""
    assert response.headers.getall("Access-Control-Allow-Origin") == [origin]
    assert set(response.headers["Access-Control-Expose-Headers"].split(", ")) == _EXPOSED
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert "Origin" in response.headers.getall("Vary")


def assert_unreadable(response: aiohttp.ClientResponse) -> None:
    """Assert that a browser lets no page of another origin read the response."""
    assert not [name for name in response.headers if name.lower().startswith("access-control-")]
    assert "Origin" in response.headers.getall("Vary")


@pytest.mark.parametrize("origin", [_PAGE, "http://localhost:3000"])
@pytest.mark.parametrize("path", ["/token", "/ecg/process", "/ecg/10", "/ecg", "/user/ada/roles"])
async def test_a_preflight_says_what_pages_may_send(
    nobody: aiohttp.ClientSession, path: str, origin: str
) -> None:
    async with nobody.options(path, headers={"Origin": origin, **_PREFLIGHT}) as response:
        assert (response.status, await response.read()) == (204, b"")

    allowed = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"authorization", "content-type", "content-encoding", "if-none-match", "traceparent"} < set(
        allowed
    )
    methods = response.headers["Access-Control-Allow-Methods"].split(", ")
    assert set(methods) == {"HEAD", *(route.method for route in ROUTES)}
    assert response.headers["Access-Control-Max-Age"] == "7200"
    assert_readable(response, origin)


@pytest.mark.parametrize("origin", _OTHERS)
async def test_an_origin_that_is_not_allowed_gets_no_header(
    nobody: aiohttp.ClientSession, origin: str
) -> None:
    async with nobody.options("/token", headers={"Origin": origin, **_PREFLIGHT}) as response:
        problem = await problem_of(response, 403)
        assert_unreadable(response)
    async with nobody.get("/health/live", headers={"Origin": origin}) as response:
        assert response.status == 200
        assert_unreadable(response)

    assert "ISOLINE_CORS_ORIGINS" in problem["detail"]
    assert "app.example.org" not in str(problem)


async def test_two_origins_are_none(nobody: aiohttp.ClientSession) -> None:
    for origins in ([_PAGE, _PAGE], [_PAGE, "https://evil.example"], ["https://evil.example", _PAGE]):
        headers = [("Origin", origin) for origin in origins]
        async with nobody.get("/health/live", headers=headers) as response:
            assert response.status == 200
            assert_unreadable(response)


@pytest.mark.parametrize("headers", [{}, {"Origin": _PAGE}, _PREFLIGHT])
async def test_options_without_a_preflights_headers_is_told_so(
    nobody: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    async with nobody.options("/token", headers=headers) as response:
        problem = await problem_of(response, 400)

    assert problem["detail"] == (
        "OPTIONS is for preflights of browsers: expected Origin and Access-Control-Request-Method."
    )


async def test_a_preflight_of_a_path_that_is_not_there_is_404(nobody: aiohttp.ClientSession) -> None:
    async with nobody.options("/nothing", headers={"Origin": _PAGE, **_PREFLIGHT}) as response:
        await problem_of(response, 404)
        assert_readable(response)


async def test_another_method_names_options_among_those_it_has(nobody: aiohttp.ClientSession) -> None:
    async with nobody.put("/token", headers={"Origin": _PAGE}) as response:
        await problem_of(response, 405)
        assert response.headers["Allow"] == "OPTIONS, POST"
        assert_readable(response)


@pytest.mark.parametrize(
    ("status", "method", "path", "sent"),
    [
        (400, "POST", "/token", {"data": b"no JSON", "headers": {"Content-Type": "application/json"}}),
        (401, "GET", "/ecg/10", {"headers": {"Authorization": "Bearer none"}}),
        (403, "GET", "/user", {}),
        (404, "GET", "/nothing", {}),
        (405, "PATCH", "/ecg", {}),
        (413, "POST", "/ecg/process", {"json": {"id": "1" * 8192}}),
        (415, "POST", "/ecg/process", {"data": b"1", "headers": {"Content-Type": "text/csv"}}),
        (422, "POST", "/ecg/process", {"json": {}}),
        (503, "GET", "/ecg/10", {}),
        (200, "GET", "/openapi.json", {}),
        (200, "HEAD", "/openapi.json", {}),
    ],
)
async def test_a_page_can_read_every_response(
    ada: aiohttp.ClientSession, status: int, method: str, path: str, sent: dict[str, Any]
) -> None:
    headers = {"Origin": _PAGE, **sent.pop("headers", {})}
    async with ada.request(method, path, headers=headers, **sent) as response:
        assert response.status == status, await response.text()
        assert_readable(response)


async def test_a_page_can_read_that_a_body_is_late(alone: str) -> None:
    head = (
        b"POST /token HTTP/1.1\r\nHost: x\r\nOrigin: https://app.example.org\r\n"
        b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    )

    response = await exchange(alone, head)

    assert response.startswith(b"HTTP/1.1 408 ")
    assert b"Access-Control-Allow-Origin: https://app.example.org\r\n" in response


@pytest.mark.parametrize(
    ("status", "field"),
    [(501, b"Transfer-Encoding: gzip, chunked\r\n"), (431, b"X-Long: %b\r\n" % (b"x" * 8000) * 5)],
)
async def test_a_page_can_read_that_a_head_is_refused(alone: str, status: int, field: bytes) -> None:
    head = b"GET / HTTP/1.1\r\nHost: x\r\nOrigin: https://app.example.org\r\n" + field + b"\r\n"

    response = await exchange(alone, head)

    assert response.startswith(b"HTTP/1.1 %d " % status)
    assert b"Access-Control-Allow-Origin: https://app.example.org\r\n" in response


async def test_preflights_count_for_the_limit_of_an_address_and_its_429_is_readable() -> None:
    async with (
        open_gateway_alone(cors_origins=_PAGE, rate_per_address=1) as address,
        open_client(address) as nobody,
    ):
        for status in (204, 429):
            async with nobody.options("/token", headers={"Origin": _PAGE, **_PREFLIGHT}) as response:
                assert response.status == status
                assert_readable(response)
    assert int(response.headers["Retry-After"]) >= 1


async def test_without_the_setting_no_response_has_a_header_of_cors(gateway_alone: str) -> None:
    async with open_client(gateway_alone) as nobody:
        async with nobody.options("/token", headers={"Origin": _PAGE, **_PREFLIGHT}) as response:
            await problem_of(response, 405)
            assert response.headers["Allow"] == "POST"
        async with nobody.get("/health/live", headers={"Origin": _PAGE}) as live:
            assert live.status == 200
    for headers in (response.headers, live.headers):
        assert not [name for name in headers if name.lower().startswith("access-control-")]
        assert "Origin" not in headers.getall("Vary")


async def test_a_page_submits_and_reads_the_location_and_the_tag(database: Database) -> None:
    settings = GatewayOnlySettings(host="127.0.0.1", port=0, cors_origins=_PAGE)
    async with (
        open_test_gateway(database, InProcessBroker().publisher(), settings=settings) as address,
        open_client(address, "ada") as ada,
    ):
        origin = {"Origin": _PAGE}
        async with ada.post("/ecg/process", json=an_ecg_body(id="10"), headers=origin) as response:
            assert (response.status, response.headers["Location"]) == (202, "/ecg/10")
            assert_readable(response)
        async with ada.get("/openapi.json", headers=origin) as response:
            assert_readable(response)
        tag = {"If-None-Match": response.headers["ETag"]}
        async with ada.get("/openapi.json", headers=origin | tag) as response:
            assert response.status == 304
            assert_readable(response)
