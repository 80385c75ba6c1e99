from __future__ import annotations

import asyncio
import gzip
import io
import json
import re
import time
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

import pytest

from shared.observability import logs
from shared.observability.logs import Journal
from tests.http.conftest import (
    exchange,
    open_client,
    open_gateway_alone,
    open_raw,
    problem_of,
)
from tests.support.builders import an_ecg_body
from tests.support.logs import capture_logs
from tests.support.polling import until
from tests.support.servers.redis_server import open_redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import aiohttp

_JSON: Final = {"Content-Type": "application/json"}
_READ_TIMEOUT_S: Final = 0.6
_HEAD_TOO_LARGE: Final = ("Request Header Fields Too Large", "request-header-fields-too-large")


def a_head(client: aiohttp.ClientSession, *, expect: str) -> bytes:
    """The head of a submission whose body is two bytes."""
    return (
        f"POST /ecg/process HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['Authorization']}\r\n"
        f"Expect: {expect}\r\nConnection: close\r\nContent-Length: 2\r\n\r\n"
    ).encode()


async def statuses(address: str, name: str | None, count: int, **options: Any) -> list[int]:
    found = []
    async with open_client(address, name) as client:
        for _ in range(count):
            async with client.get("/ecg/10", **options) as response:
                found.append(response.status)
    return found


class TestRateLimits:
    async def test_responses_have_the_rate_limit_headers_of_each_limit(self) -> None:
        async with (
            open_gateway_alone(rate_per_caller=5, rate_per_address=7) as address,
            open_client(address, "root") as root,
        ):
            async with root.get("/ecg/10") as first:
                pass
            async with root.get("/ecg/10") as second:
                pass

        assert first.headers["RateLimit-Policy"] == '"address";q=7;w=60, "caller";q=5;w=60'
        assert re.fullmatch(r'"address";r=6;t=(59|60), "caller";r=4;t=(59|60)', first.headers["RateLimit"])
        assert re.match(r'"address";r=5;t=\d+, "caller";r=3;', second.headers["RateLimit"])

    async def test_past_the_limit_a_caller_gets_429_with_retry_after(self) -> None:
        async with open_gateway_alone(rate_per_caller=2) as address:
            found = await statuses(address, "root", 3)
            async with open_client(address, "root") as root, root.get("/ecg/10") as response:
                problem = await problem_of(response, 429)
            others = await statuses(address, "ada", 1, params={"wait": "x"})

        assert found == [403, 403, 429]
        assert 1 <= int(response.headers["Retry-After"]) <= 60
        assert '"caller";r=0;' in response.headers["RateLimit"]
        assert problem["detail"] == (
            f"More than 2 requests in a minute; wait {response.headers['Retry-After']} s."
        )
        assert others == [400]

    async def test_past_the_limit_of_an_address_everything_but_health_is_refused(self) -> None:
        async with open_gateway_alone(rate_per_address=2) as address, open_client(address) as nobody:
            found = [await _status(nobody, path) for path in ("/", "/ecg/10", "/", "/.well-known/jwks.json")]
            healthy = [await _status(nobody, "/health/live") for _ in range(5)]

        assert found == [404, 401, 429, 429]
        assert healthy == [200] * 5

    async def test_logins_have_a_limit_of_their_own(self) -> None:
        async with open_gateway_alone(rate_of_logins=2) as address, open_client(address) as nobody:
            found = [await _status(nobody, "/token", "POST") for _ in range(3)]
            other = await _status(nobody, "/ecg/10")

        assert found == [415, 415, 429]
        assert other == 401

    async def test_a_limit_of_0_is_none(self) -> None:
        off = {"rate_per_caller": 0, "rate_per_address": 0, "rate_of_logins": 0}
        async with (
            open_gateway_alone(**off) as address,
            open_client(address, "root") as root,
            root.get("/ecg/10") as response,
        ):
            assert "RateLimit" not in response.headers
            assert "RateLimit-Policy" not in response.headers

    async def test_x_forwarded_for_is_ignored_without_trusted_proxies(self) -> None:
        async with open_gateway_alone(rate_per_address=2) as address:
            found = [
                (await statuses(address, None, 1, headers={"X-Forwarded-For": f"192.0.2.{index}"}))[0]
                for index in range(3)
            ]

        assert found == [401, 401, 429]

    async def test_x_forwarded_for_of_a_trusted_proxy_is_used(self) -> None:
        async with open_gateway_alone(rate_per_address=2, trusted_proxies=1) as address:
            found = [
                (await statuses(address, None, 1, headers={"X-Forwarded-For": f"192.0.2.{index}"}))[0]
                for index in (1, 1, 1, 2)
            ]

        assert found == [401, 401, 429, 401]

    async def test_clients_of_a_proxy_that_adds_ports_are_counted_separately(self) -> None:
        async with open_gateway_alone(rate_per_address=2, trusted_proxies=1) as address:
            found = [
                (await statuses(address, None, 1, headers={"X-Forwarded-For": f"10.9.9.9, {hop}"}))[0]
                for hop in ("203.0.113.7:5123", "203.0.113.7:5124", "203.0.113.7:5125", "[2001:db8::1]:443")
            ]

        assert found == [401, 401, 429, 401]

    async def test_gateways_on_one_redis_count_together(self, tmp_path: Path) -> None:
        async with open_redis_server(tmp_path) as redis:
            settings = {"rate_per_caller": 3, "redis_url": redis.url}
            async with open_gateway_alone(**settings) as one, open_gateway_alone(**settings) as other:
                found = await statuses(one, "root", 2) + await statuses(other, "root", 2)

        assert found == [403, 403, 403, 429]


class TestSlowness:
    @pytest.mark.parametrize("sent", [b"\r\n", b"G", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
    async def test_an_incomplete_head_is_a_408(self, sent: bytes) -> None:
        async with open_gateway_alone(read_timeout_s=_READ_TIMEOUT_S) as address:
            begun = time.monotonic()
            response = await exchange(address, sent)

        assert response.startswith(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n")
        assert _READ_TIMEOUT_S <= time.monotonic() - begun < _READ_TIMEOUT_S + 2

    async def test_a_silent_connection_is_closed_without_a_response(self) -> None:
        async with open_gateway_alone(read_timeout_s=_READ_TIMEOUT_S) as address:
            with capture_logs() as records:
                begun = time.monotonic()
                response = await exchange(address)

        assert response == b""
        assert time.monotonic() - begun >= _READ_TIMEOUT_S
        assert not any(record["message"].startswith("a connection") for record in records)

    async def test_an_idle_keep_alive_connection_is_closed_without_a_response(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gateway.http.connections.connection._KEEP_ALIVE_S", _READ_TIMEOUT_S * 1.5)
        async with (
            open_gateway_alone(read_timeout_s=_READ_TIMEOUT_S) as address,
            asyncio.timeout(10),
            open_raw(address) as (reader, writer),
        ):
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b" 200 OK" in await reader.readuntil(b'"live"}')
            rest = await reader.read()

        assert rest == b""

    async def test_a_slow_head_is_a_408(self) -> None:
        async with (
            open_gateway_alone(read_timeout_s=_READ_TIMEOUT_S) as address,
            asyncio.timeout(5),
            open_raw(address) as (reader, writer),
        ):
            writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
            dripping = asyncio.create_task(_drip(writer))
            response = await _until_cut_off(reader)
            dripping.cancel()

        assert response.startswith(b"HTTP/1.1 408 ")

    async def test_a_slow_second_head_is_a_408(self) -> None:
        async with (
            open_gateway_alone(read_timeout_s=_READ_TIMEOUT_S) as address,
            asyncio.timeout(5),
            open_raw(address) as (reader, writer),
        ):
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(_READ_TIMEOUT_S * 1.5)
            writer.write(b"GET /health/live HTTP/1.1\r\n")
            rest = await reader.read()

        assert b"HTTP/1.1 408 " in rest

    async def test_a_connection_may_be_idle_between_requests(self) -> None:
        async with open_gateway_alone(read_timeout_s=_READ_TIMEOUT_S) as address, open_raw(address) as raw:
            reader, writer = raw
            for _ in range(2):
                writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b" 200 OK" in await reader.readuntil(b'"live"}')
                await asyncio.sleep(_READ_TIMEOUT_S * 1.5)

    async def test_a_slow_body_is_a_408_and_closes_the_connection(self) -> None:
        async with (
            open_gateway_alone(read_timeout_s=_READ_TIMEOUT_S) as address,
            asyncio.timeout(8),
            open_raw(address) as (reader, writer),
        ):
            writer.write(b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
            dripping = asyncio.create_task(_drip(writer))
            response = await _until_cut_off(reader)
            dripping.cancel()

        head, _, body = response.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert b"Connection: close" in head
        assert json.loads(body)["detail"].startswith("The body came too slowly: 0.6 s, and 1 s more")

    @pytest.mark.parametrize("content_type", ["application/json", "application/vnd.isoline.ecg"])
    async def test_a_disconnect_during_a_body_is_no_error(self, content_type: str) -> None:
        async with open_gateway_alone() as address, open_client(address, "ada") as ada:
            head = (
                "POST /ecg/process HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n"
                f"Content-Type: {content_type}\r\nAuthorization: {ada.headers['Authorization']}\r\n\r\n"
            )
            with capture_logs() as records:
                async with asyncio.timeout(8), open_raw(address) as (reader, writer):
                    writer.write(head.encode())
                    await reader.readuntil(b"\r\n\r\n")  # it waits for the body now
                    writer.write(b"ISO")
                await until(lambda: any(record["message"] == "request" for record in records))

        [record] = [record for record in records if record["message"] == "request"]
        assert record["status"] == 400
        assert not any(record["level"] == "error" for record in records)

    async def test_received_bytes_extend_the_deadline_of_a_body(self) -> None:
        body = json.dumps(an_ecg_body(padding="x" * 150_000)).encode()
        async with (
            open_gateway_alone(read_timeout_s=_READ_TIMEOUT_S) as address,
            open_client(address, "ada") as ada,
        ):

            async def in_pieces() -> AsyncIterator[bytes]:
                for start in range(0, len(body), 30_000):
                    yield body[start : start + 30_000]
                    await asyncio.sleep(_READ_TIMEOUT_S / 2)

            async with ada.post("/ecg/process", data=in_pieces(), headers=_JSON) as response:
                assert response.status == 413


class TestSizes:
    @pytest.mark.parametrize(
        ("head", "status"),
        [
            (b"GET / HTTP/1.1\r\nAuthorization: Bearer canary" + b"x" * 12_000 + b"\r\n\r\n", 431),
            (b"GET /canary" + b"x" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
            (b"GET / HTTP/1.1\r\n" + b"X-Canary: canary\r\n" * 200 + b"\r\n", 431),
            (b"GET / HTTP/1.1\r\nHost: x\r\n" + (b"X-Canary: " + b"x" * 8000 + b"\r\n") * 5 + b"\r\n", 431),
            (b"GET / HTTP/1.1\r\nHost: x\r\n" + (b"X-Canary: " + b"x" * 8000 + b"\r\n") * 5, 431),
            (b"canary of no HTTP\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nContent-Length: canary\r\n\r\n", 400),
            (b"\x16\x03\x01canary", 400),
        ],
    )
    async def test_a_malformed_or_too_large_head_is_refused_and_not_quoted(
        self, head: bytes, status: int, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        with capture_logs() as records:
            async with open_gateway_alone() as address:
                response = await exchange(address, head)

        response_head, _, body = response.partition(b"\r\n\r\n")
        names = {400: ("Bad Request", "bad-request"), 431: _HEAD_TOO_LARGE}
        assert response_head.startswith(b"HTTP/1.")
        assert f" {status} {names[status][0]}".encode() in response_head.split(b"\r\n")[0]
        assert json.loads(body)["type"] == f"urn:isoline:problem:{names[status][1]}"
        captured = capfd.readouterr()
        everything = response.decode() + captured.out + captured.err + caplog.text + str(records)
        assert "canary" not in everything
        assert records

    async def test_a_head_of_maximal_size_is_accepted_and_so_is_the_next(self) -> None:
        head = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
        head += (b"X-A: " + b"x" * 8000 + b"\r\n") * 4
        largest = head + b"X-B: " + b"x" * (32 * 1024 - len(head) - 20) + b"\r\n"
        async with open_gateway_alone() as address:
            responses = await exchange(address, largest + b"\r\n" + largest + b"Connection: close\r\n\r\n")

        assert responses.count(b"HTTP/1.1 200 OK") == 2

    async def test_a_large_body_is_not_counted_as_part_of_the_next_head(self) -> None:
        posted = b"POST /ecg/process HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n" + b" " * 60_000
        last = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        async with open_gateway_alone() as address, open_raw(address) as (reader, writer):
            writer.write(posted)
            await reader.readuntil(b"access_token")
            writer.write(last[:10])
            await asyncio.sleep(0.05)
            writer.write(last[10:])
            async with asyncio.timeout(8):
                response = await reader.read()

        assert b"HTTP/1.1 200 OK" in response

    async def test_connection_close_is_honoured_after_a_complete_body(self) -> None:
        refused = b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n" + b" " * 300_000
        async with open_gateway_alone() as address:
            response = await exchange(address, refused)  # returns when the gateway has closed

        assert response.startswith(b"HTTP/1.1 413 ")
        assert b"Connection: close" in response

    async def test_a_body_in_many_small_chunks_is_accepted(self) -> None:
        body = json.dumps(an_ecg_body(padding="x" * 300_000)).encode()

        async def in_pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(body), 100):
                yield body[start : start + 100]

        async with (
            open_gateway_alone() as address,
            open_client(address, "ada") as ada,
            ada.post("/ecg/process", data=in_pieces(), headers=_JSON) as response,
        ):
            problem = await problem_of(response, 413)

        assert problem["detail"].startswith("Beside its signals")

    @pytest.mark.parametrize(
        "type_", ["text/" + ";" * 8000, 'a/b;c="' + '";"' * 2000, "a/b" + ";a*0=b" * 1000]
    )
    async def test_a_content_type_of_many_parameters_is_not_parsed(
        self, type_: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with open_gateway_alone() as address, open_client(address, "ada") as ada:
            monkeypatch.delattr("aiohttp.helpers.HeaderParser")
            async with ada.post("/ecg/process", data=b"{}", headers={"Content-Type": type_}) as response:
                assert response.status == 415
                assert "256 characters" in await response.text()

    async def test_a_query_of_many_parameters_is_refused_by_their_number(self) -> None:
        async with (
            open_gateway_alone() as address,
            open_client(address, "ada") as ada,
            ada.get(f"/ecg?{'a=1&' * 1000}") as response,
        ):
            problem = await problem_of(response, 400)

        assert problem["detail"] == "The query does not fit: expected 32 parameters or fewer."

    async def test_a_malformed_request_is_logged_without_fields_of_the_one_before(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = io.BytesIO()
        journal = Journal(file, {})
        monkeypatch.setattr(logs._output, "add", journal.add)
        async with (
            open_gateway_alone() as address,
            asyncio.timeout(10),
            open_raw(address) as (reader, writer),
        ):
            writer.write(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")
            writer.write(b"no HTTP\r\n\r\n")
            assert b" 400 Bad Request" in await reader.read()

        journal.flush()
        records = map(json.loads, file.getvalue().splitlines())
        [record] = [r for r in records if r["message"] == "a connection sent a malformed request"]
        assert not {"request_id", "trace_id"} & record.keys()

    async def test_a_token_of_two_megabytes_is_not_read_to_its_end(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        head = b"GET /ecg/10 HTTP/1.1\r\nAuthorization: Bearer canary" + b"x" * 2 * 2**20
        with capture_logs() as records:
            async with open_gateway_alone() as address:
                async with asyncio.timeout(5), open_raw(address) as (reader, writer):
                    writer.write(head)
                    with suppress(ConnectionResetError):  # the close may overtake the response
                        assert b" 431 Request Header Fields Too Large" in await reader.read()
                assert await statuses(address, None, 1) == [401]

        assert "canary" not in "".join(capfd.readouterr()) + str(records)

    async def test_one_caller_may_hold_a_quarter_of_the_byte_budget_and_others_the_rest(self) -> None:
        leads = [{"name": "I", "signal": [1000] * 120_000}]
        body = json.dumps(an_ecg_body(date="tomorrow", leads=leads), separators=(",", ":")).encode()
        packed = gzip.compress(body)
        async with (
            open_gateway_alone(
                max_body_bytes=2**20, max_bytes_in_flight=2**22, max_ecg_samples=2**17
            ) as address,
            open_client(address, "ada") as ada,
            open_client(address, "bob") as bob,
            open_raw(address) as (reader, writer),
        ):
            token = ada.headers["Authorization"]
            writer.write(
                f"POST /ecg/process HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body[:-100]
            )
            await writer.drain()
            await asyncio.sleep(0.3)
            headers = {**_JSON, "Content-Encoding": "gzip"}
            async with ada.post("/ecg/process", data=packed, headers=headers) as response:
                problem = await problem_of(response, 503)
            async with bob.post("/ecg/process", data=packed, headers=headers) as of_another:
                await problem_of(of_another, 422)
            writer.write(body[-100:])
            assert b" 422 Unprocessable" in await reader.readuntil(b"\r\n\r\n")
            async with ada.post("/ecg/process", data=packed, headers=headers) as again:
                await problem_of(again, 422)

        assert response.headers["Retry-After"] == "1"
        assert problem["detail"].startswith("The gateway has its hands full")

    async def test_a_body_being_received_when_the_gateway_stops_is_read_and_answered(self) -> None:
        body = b"{}".rjust(100_000)
        async with asyncio.timeout(10), AsyncExitStack() as client:
            async with open_gateway_alone() as address, open_client(address, "ada") as ada:
                reader, writer = await client.enter_async_context(open_raw(address))
                token = ada.headers["Authorization"]
                writer.write(
                    f"POST /ecg/process HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n"
                    f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                )
                assert b" 100 " in await reader.readline()
                writer.write(body[:-100])
                rest = asyncio.get_running_loop().call_later(0.3, writer.write, body[-100:])

            response = await reader.read()
            assert rest.when() < asyncio.get_running_loop().time()

        assert b" 413 " in response
        assert b"Connection: close" in response

    async def test_a_body_of_many_arrays_is_refused_before_it_is_parsed(self) -> None:
        body = b"[" + b"[]," * 10_000 + b"[]]"
        async with (
            open_gateway_alone() as address,
            open_client(address, "ada") as ada,
            ada.post("/ecg/process", data=body, headers=_JSON) as response,
        ):
            problem = await problem_of(response, 413)

        assert problem["detail"].endswith("and 5120 texts and arrays.")

    async def test_expect_100_continue_is_answered(self) -> None:
        async with (
            open_gateway_alone() as address,
            open_client(address, "ada") as ada,
            asyncio.timeout(10),
            open_raw(address) as (reader, writer),
        ):
            writer.write(a_head(ada, expect="100-continue"))
            invited = await reader.readuntil(b"\r\n\r\n")
            writer.write(b"[,")
            response = await reader.read()

        assert invited == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert response.startswith(b"HTTP/1.1 400 ")

    async def test_no_100_continue_is_sent_when_the_body_has_arrived(self) -> None:
        async with open_gateway_alone() as address, open_client(address, "ada") as ada:
            response = await exchange(address, a_head(ada, expect="100-continue") + b"[,")

        assert response.startswith(b"HTTP/1.1 400 ")

    @pytest.mark.parametrize(
        ("path", "fields", "length", "status"),
        [
            ("/token", "", 16 * 1024 + 1, 413),
            ("/ecg/process", "Content-Type: application/json", 16 * 2**20 + 1, 413),
            ("/ecg/process", "Content-Type: application/json\r\nContent-Encoding: gzip", 8 * 2**20 + 1, 413),
            ("/ecg/process", "Content-Type: application/vnd.isoline.ecg", 400_100_000, 413),
            (
                "/ecg/process",
                "Content-Type: application/vnd.isoline.ecg\r\nContent-Encoding: zstd",
                450_500_000,
                413,
            ),
            ("/ecg/process", "Content-Type: application/octet-stream", 400_100_000, 413),
            ("/ecg/process", "X-Type: none", 10**12, 413),
            ("/ecg/process", "Content-Encoding: br", 100, 415),
            ("/ecg/process", "Content-Type: application/json\r\nContent-Encoding: br", 100, 415),
            ("/ecg/process", "Content-Type: text/csv", 100, 415),
            ("/nowhere", "", 100, 404),
        ],
    )
    async def test_no_100_continue_is_sent_before_a_refusal(
        self, path: str, fields: str, length: int, status: int
    ) -> None:
        async with open_gateway_alone() as address, open_client(address, "ada") as ada:
            response = await exchange(
                address,
                (
                    f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {ada.headers['Authorization']}\r\n"
                    f"Expect: 100-continue\r\nConnection: close\r\nContent-Length: {length}\r\n"
                    f"{fields or 'X-A: b'}\r\n\r\n"
                ).encode(),
            )

        assert response.startswith(b"HTTP/1.1 %d " % status)
        assert b"\r\nConnection: close\r\n" in response

    @pytest.mark.parametrize(
        ("coding", "status"),
        [
            ("chunked", 422),
            ("Chunked", 422),
            (", chunked ", 422),
            ("gzip, chunked", 501),
            ("identity, chunked", 501),
            ("x, deflate,chunked", 501),
            ("gzip", 400),
            ("chunked, gzip", 400),
            ("gzip\r\nTransfer-Encoding: chunked", 400),
        ],
    )
    @pytest.mark.parametrize("route", ["POST /token", "POST /ecg/process"])
    async def test_an_unknown_transfer_coding_is_not_taken_for_chunked(
        self, route: str, coding: str, status: int
    ) -> None:
        async with open_gateway_alone() as address, open_client(address, "ada") as ada:
            response = await exchange(
                address,
                (
                    f"{route} HTTP/1.1\r\nHost: x\r\nAuthorization: {ada.headers['Authorization']}\r\n"
                    "Connection: close\r\nContent-Type: application/json\r\n"
                    f"Transfer-Encoding: {coding}\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
                ).encode(),
            )

        assert b" %d " % status in response.partition(b"\r\n")[0]

    async def test_other_expectations_are_not_quoted(self) -> None:
        async with open_gateway_alone() as address, open_client(address, "ada") as ada:
            response = await exchange(address, a_head(ada, expect="canary") + b"[,")

        assert response.startswith(b"HTTP/1.1 400 ")
        assert b"canary" not in response

    async def test_an_http_1_0_client_gets_no_100_continue(self) -> None:
        async with (
            open_gateway_alone() as address,
            open_client(address) as anybody,
            asyncio.timeout(10),
            open_raw(address) as (reader, writer),
        ):
            writer.write(
                b"POST /token HTTP/1.0\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
            )
            async with anybody.get("/health/live"):
                pass  # by now the gateway has read the head, which came before
            writer.write(b"[,")
            response = await reader.read()

        assert response.startswith(b"HTTP/1.0 400 ")


async def _status(client: Any, path: str, method: str = "GET") -> int:
    async with client.request(method, path) as response:
        status: int = response.status
        return status


async def _until_cut_off(reader: asyncio.StreamReader) -> bytes:
    """All received bytes; data still being sent may turn the close into a reset."""
    received = b""
    with suppress(ConnectionResetError):
        while some := await reader.read(2**16):
            received += some
    return received


async def _drip(writer: asyncio.StreamWriter) -> None:
    while True:
        await asyncio.sleep(0.05)
        writer.write(b"x")
