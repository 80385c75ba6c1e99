from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

import isoline.client
from isoline.client import RefusedError, UnavailableError, UrlError, open_client
from tests.http.conftest import PASSWORD, open_test_processor
from tests.support.builders import an_ecg_body
from tests.support.certificates import untrusted_certificate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from isoline.client import Client
    from shared.broker.in_process import InProcessBroker
    from shared.storage.pool.database import Database


@pytest.fixture
async def client(gateway: str) -> AsyncIterator[Client]:
    async with open_client(gateway, user="ada", password=PASSWORD) as client:
        yield client


class TestAgainstAGateway:
    @pytest.mark.usefixtures("processor")
    async def test_submits_and_waits(self, client: Client) -> None:
        result = await client.submit_and_wait(an_ecg_body(id="10"))

        assert (result.id, result.status, result.error) == ("10", "completed", None)
        assert [(lead.name, lead.findings, lead.warnings) for lead in result.leads] == [
            ("I", {"zero_crossings": 2}, ())
        ]

    async def test_a_submission_is_queued_and_can_be_got(self, client: Client) -> None:
        submitted = await client.submit(
            b'{"id": 10, "date": "2023-07-30", "leads": [{"name": "I", "signal": [1]}]}'
        )

        assert (submitted.id, submitted.status, submitted.leads) == ("10", "queued", ())
        assert (await client.get("10")).status == "queued"

    async def test_waiting_ends_at_its_timeout(self, client: Client) -> None:
        await client.submit(an_ecg_body(id="10"))

        with pytest.raises(UnavailableError, match="ECG 10 is still queued"):
            await client.wait("10", timeout_s=0.3)

    async def test_waiting_ends_with_the_result(
        self, client: Client, database: Database, broker: InProcessBroker
    ) -> None:
        await client.submit(an_ecg_body(id="10"))
        waiting = asyncio.create_task(client.wait("10"))
        await asyncio.sleep(0.1)

        async with open_test_processor(database, broker):
            assert (await waiting).status == "completed"

    @pytest.mark.usefixtures("processor")
    async def test_a_result_says_what_of_and_when(self, client: Client) -> None:
        result = await client.submit_and_wait(an_ecg_body(id="10", sampling_rate_hz=500, unit="mV"))

        assert (result.date, result.sampling_rate_hz, result.unit) == ("2023-07-30", 500, "mV")
        assert (result.generation, result.is_analysed_again) == (1, False)
        assert result.submitted_at
        assert result.completed_at
        assert datetime.fromisoformat(result.submitted_at) < datetime.fromisoformat(result.completed_at)

    async def test_lists_over_all_pages(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(isoline.client, "_PAGE", 2)
        for n in range(5):
            await client.submit(an_ecg_body(id=str(n)))

        assert [ecg.id async for ecg in client.list()] == ["4", "3", "2", "1", "0"]
        assert [ecg async for ecg in client.list(status="failed")] == []

    async def test_deletes(self, client: Client) -> None:
        await client.submit(an_ecg_body(id="10"))

        assert await client.delete("10")

        with pytest.raises(RefusedError, match="404: You have no ECG of this id"):
            await client.get("10")
        assert not await client.delete("10")

    async def test_a_refusal_has_all_problems(self, client: Client) -> None:
        with pytest.raises(RefusedError) as refusal:
            await client.submit(an_ecg_body(date="yesterday", leads=[]))

        assert refusal.value.status == 422
        assert {error["pointer"] for error in refusal.value.errors} == {"/date", "/leads"}
        assert "/leads: expected 1 or more, found 0" in str(refusal.value)

    @pytest.mark.parametrize(
        "ecg_id",
        ["", ".", "..", "a/b", "a?b", "a#b", "%2e%2e", "..%2Fuser", "a b", "a\n", "\u00e4", "a" * 129],
    )
    async def test_an_id_that_would_ask_for_something_else_is_refused(
        self, client: Client, ecg_id: str
    ) -> None:
        with pytest.raises(RefusedError):
            await client.get(ecg_id)

    async def test_a_wrong_password_is_refused(self, gateway: str) -> None:
        async with open_client(gateway, user="ada", password="wrong") as client:
            with pytest.raises(RefusedError, match="401: No account has this name and this password"):
                await client.get("10")


class TestReanalysis:
    """Against a server with an ECG that is being re-analysed."""

    async def test_the_next_result_is_waited_for(self) -> None:
        results = [_finished(generation=2), _finished(reanalysis="queued")]

        async with serving(lambda _: results.pop()) as url, open_client(url, token="t") as client:
            result = await client.wait("10")

        assert (result.generation, result.is_analysed_again) == (2, False)

    async def test_after_the_timeout_the_last_result_is_returned(self) -> None:
        async with (
            serving(lambda _: _finished(reanalysis="queued")) as url,
            open_client(url, token="t") as client,
        ):
            result = await client.wait("10", timeout_s=0)

        assert (result.status, result.generation, result.is_analysed_again) == ("completed", 1, True)

    async def test_a_list_says_so_too(self) -> None:
        ecg = {"id": "10", "status": "completed", "submitted_at": "2026-01-05T08:00:00+00:00"}
        page = {"ecgs": [ecg | {"reanalysis": "queued"}, ecg]}

        async with (
            serving(lambda _: web.json_response(page)) as url,
            open_client(url, token="t") as client,
        ):
            assert [each.is_analysed_again async for each in client.list()] == [True, False]


class TestRetries:
    """Against a server that fails in a given way."""

    @pytest.fixture(autouse=True)
    def _hurry(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(isoline.client, "_FIRST_BACKOFF_S", 0.01)

    async def test_temporary_failures_are_retried_until_they_end(self) -> None:
        failures = [503, 429, 502, 504]

        def respond(_: web.Request) -> web.Response:
            return web.Response(status=failures.pop()) if failures else _queued()

        async with serving(respond) as url, open_client(url, token="t") as client:
            assert (await client.get("10")).status == "queued"
        assert failures == []

    async def test_retry_after_is_honoured(self) -> None:
        times: list[float] = []

        def respond(_: web.Request) -> web.Response:
            times.append(asyncio.get_running_loop().time())
            return _queued() if len(times) > 1 else web.Response(status=429, headers={"Retry-After": "0.5"})

        async with serving(respond) as url, open_client(url, token="t") as client:
            await client.get("10")

        assert times[1] - times[0] >= 0.5

    @pytest.mark.parametrize(
        "said", ["nan", "inf", "-inf", "-1", "", "soon", "9" * 400, "Sun, 06 Nov 1994 08:49:37 GMT"]
    )
    async def test_a_retry_after_that_asks_for_nothing_does_no_harm(self, said: str) -> None:
        answers = [web.Response(status=503, headers={"Retry-After": said}), _queued()]

        async with serving(lambda _: answers.pop(0)) as url, open_client(url, token="t") as client:
            async with asyncio.timeout(20):
                assert (await client.get("10")).status == "queued"

    async def test_a_retry_after_may_be_a_date(self) -> None:
        later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)

        async with (
            serving(lambda _: web.Response(status=503, headers={"Retry-After": later})) as url,
            open_client(url, token="t", retry_for_s=5) as client,
            asyncio.timeout(2),
        ):
            with pytest.raises(UnavailableError):
                await client.get("10")

    async def test_a_lost_connection_is_retried(self) -> None:
        seen: list[str] = []

        def respond(request: web.Request) -> web.Response:
            seen.append(request.method)
            if len(seen) < 3:
                assert request.transport
                request.transport.abort()
            return _queued()

        async with serving(respond) as url, open_client(url, token="t") as client:
            await client.submit(an_ecg_body())

        assert seen == ["POST", "POST", "POST"]

    async def test_retries_end(self) -> None:
        async with (
            serving(lambda _: web.Response(status=503)) as url,
            open_client(url, token="t", retry_for_s=0.1) as client,
        ):
            with pytest.raises(UnavailableError, match="503 Service Unavailable"):
                await client.get("10")

    async def test_a_pause_longer_than_retries_may_take_is_not_waited_for(self) -> None:
        async with (
            serving(lambda _: web.Response(status=429, headers={"Retry-After": "3600"})) as url,
            open_client(url, token="t", retry_for_s=5) as client,
        ):
            async with asyncio.timeout(2):
                with pytest.raises(UnavailableError):
                    await client.get("10")

    async def test_an_unreachable_gateway_is_unavailable(self) -> None:
        async with open_client("http://127.0.0.1:1", token="t", retry_for_s=0.1) as client:
            with pytest.raises(UnavailableError):
                await client.get("10")

    async def test_a_port_without_tls_fails_at_once(self) -> None:
        async with (
            serving(lambda _: _queued()) as url,
            open_client(url.replace("http:", "https:"), token="t") as client,
            asyncio.timeout(20),
        ):
            with pytest.raises(UnavailableError, match=r"(?i)wrong.version.number"):
                await client.get("10")

    async def test_an_untrusted_certificate_fails_at_once(self, tmp_path: Path) -> None:
        async with await asyncio.start_server(
            lambda *_: None, "127.0.0.1", 0, ssl=untrusted_certificate(tmp_path)
        ) as listening:
            url = f"https://localhost:{listening.sockets[0].getsockname()[1]}"
            async with open_client(url, token="t") as client, asyncio.timeout(20):
                with pytest.raises(UnavailableError, match="self-signed certificate"):
                    await client.get("10")

    async def test_a_response_that_is_not_json_is_a_refusal(self) -> None:
        async with (
            serving(lambda _: web.Response(status=400, text="<html>")) as url,
            open_client(url, token="t") as client,
        ):
            with pytest.raises(RefusedError, match="400: no reason was given"):
                await client.get("10")


class TestUrls:
    @pytest.mark.parametrize("path", ["", "/", "/isoline", "/isoline/", "/a%20b/isoline//"])
    async def test_the_path_of_the_url_is_a_prefix_of_every_path(self, path: str) -> None:
        paths: list[str] = []

        def respond(request: web.Request) -> web.Response:
            paths.append(request.raw_path)
            tokens = {"access_token": "t", "expires_in": 900}
            return web.json_response(tokens) if request.path.endswith("/token") else _queued()

        async with serving(respond) as url, open_client(f"{url}{path}", user="ada", password="p") as client:
            await client.submit(an_ecg_body())
            await client.get("a:b")

        below = path.rstrip("/")
        assert paths == [f"{below}/token", f"{below}/ecg/process", f"{below}/ecg/a:b"]

    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("", "has no http://"),
            ("localhost", "has no http://"),
            ("localhost:8080", "has no http://"),
            ("127.0.0.1:8080/isoline", "has no http://"),
            ("//localhost:8080", "has no http://"),
            ("ftp://localhost", "has no http://"),
            ("http://", "no host"),
            ("http:///isoline", "no host"),
            ("http://local host/", "no host"),
            ("http://a..b/", "no host"),
            (f"http://{'a' * 64}/", "no host"),
            ("http://localhost:port", "a port that is none"),
            ("http://localhost:0", "a port that is none"),
            ("http://localhost:65536", "a port that is none"),
            ("http://127.0.0.1:tcp://10.0.0.1:8080", "a port that is none"),
            ("http://[::1", "no host"),
            ("http://secret@localhost", "holds a user or a password"),
            ("http://ada:secret@localhost", "holds a user or a password"),
            ("http://localhost/?secret=1", "leave out what follows"),
            ("http://localhost/#secret", "leave out what follows"),
        ],
    )
    async def test_an_invalid_url_is_refused_and_not_quoted(self, url: str, reason: str) -> None:
        with pytest.raises(UrlError, match=reason) as refusal:
            async with open_client(url, user="ada", password="p"):
                pass

        assert "secret" not in str(refusal.value)

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_a_redirect_takes_neither_password_nor_token_along(self, status: int) -> None:
        taken: list[web.Request] = []

        def take(request: web.Request) -> web.Response:
            taken.append(request)
            return _queued()

        async with serving(take) as elsewhere:

            def respond(_: web.Request) -> web.Response:
                return web.Response(status=status, headers={"Location": f"{elsewhere}/token?secret=1"})

            async with serving(respond) as url:
                async with open_client(url, user="ada", password="p") as client:
                    with pytest.raises(RefusedError, match=f"sent elsewhere to {elsewhere}/token, where"):
                        await client.get("10")
                async with open_client(url, token="t") as client:
                    with pytest.raises(RefusedError, match="sent elsewhere"):
                        await client.submit(an_ecg_body())

        assert taken == []

    @pytest.mark.parametrize("location", [None, "http://[", "mailto:ada"])
    async def test_a_redirect_to_nowhere_is_a_refusal(self, location: str | None) -> None:
        headers = {"Location": location} if location else {}
        async with (
            serving(lambda _: web.Response(status=302, headers=headers)) as url,
            open_client(url, token="t") as client,
        ):
            with pytest.raises(RefusedError, match="302: We are sent elsewhere, where nothing was sent"):
                await client.get("10")

    @pytest.mark.parametrize("body", ["<html>", "[]", "{}", "null", '{"id": "10"}'])
    async def test_a_response_of_another_server_is_refused(self, body: str) -> None:
        async with (
            serving(lambda _: web.Response(text=body)) as url,
            open_client(url, token="t") as with_token,
            open_client(url, user="ada", password="p") as with_password,
        ):
            for client in (with_token, with_password):
                with pytest.raises(RefusedError, match="200: This is no answer of Isoline's"):
                    await client.get("10")
                with pytest.raises(RefusedError, match="200: This is no answer of Isoline's"):
                    [_ async for _ in client.list()]

    async def test_a_server_that_speaks_no_http_is_no_gateway(self) -> None:
        async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-OpenSSH\r\n")
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with open_client(url, token="t", retry_for_s=0.1) as client:
                with pytest.raises(UnavailableError):
                    await client.get("10")


class TestTokens:
    async def test_one_login_serves_many_requests(self) -> None:
        gateway = TokenGateway()

        async with serving(gateway.respond) as url, open_client(url, user="ada", password="p") as client:
            await asyncio.gather(*(client.get("10") for _ in range(10)))

        assert gateway.logins == 1

    async def test_a_token_that_the_gateway_refuses_is_renewed_with_the_refresh_token(self) -> None:
        gateway = TokenGateway()

        async with serving(gateway.respond) as url, open_client(url, user="ada", password="p") as client:
            await client.get("10")
            gateway.good_tokens.clear()
            await asyncio.gather(*(client.get("10") for _ in range(10)))

        assert (gateway.logins, gateway.refreshes) == (1, 1)

    async def test_a_token_is_renewed_before_it_expires(self) -> None:
        gateway = TokenGateway(expires_in=30)

        async with serving(gateway.respond) as url, open_client(url, user="ada", password="p") as client:
            await client.get("10")
            await client.get("10")

        assert (gateway.logins, gateway.refreshes) == (1, 1)

    async def test_an_expired_refresh_token_is_followed_by_a_login(self) -> None:
        gateway = TokenGateway()

        async with (
            serving(gateway.respond) as url,
            open_client(url, user="ada", password="p", token="old", refresh_token="dead") as client,
        ):
            assert (await client.get("10")).status == "queued"

        assert (gateway.logins, gateway.refreshes) == (1, 0)

    async def test_a_refresh_token_alone_is_enough(self) -> None:
        gateway = TokenGateway()
        gateway.good_refresh_tokens.add("good")

        async with serving(gateway.respond) as url, open_client(url, refresh_token="good") as client:
            assert (await client.get("10")).status == "queued"

    async def test_a_refused_token_without_a_way_to_renew_is_a_refusal(self) -> None:
        async with serving(TokenGateway().respond) as url, open_client(url, token="old") as client:
            with pytest.raises(RefusedError, match="401"):
                await client.get("10")

    async def test_neither_token_nor_password_is_a_refusal(self) -> None:
        async with open_client("http://127.0.0.1:1") as client:
            with pytest.raises(RefusedError, match="neither a token nor a user"):
                await client.get("10")


class TokenGateway:
    """Issues tokens, each refresh token valid for one use, and counts logins and refreshes."""

    def __init__(self, *, expires_in: int = 900) -> None:
        self.logins = 0
        self.refreshes = 0
        self.good_tokens: set[str] = set()
        self.good_refresh_tokens: set[str] = set()
        self._expires_in = expires_in

    async def respond(self, request: web.Request) -> web.Response:
        if request.path == "/token":
            self.logins += 1
            return self._tokens()
        if request.path == "/token/refresh":
            sent = (await request.json())["refresh_token"]
            if sent not in self.good_refresh_tokens:
                return web.json_response({"detail": "dead"}, status=401)
            self.good_refresh_tokens.remove(sent)
            self.refreshes += 1
            return self._tokens()
        token = request.headers["Authorization"].removeprefix("Bearer ")
        return _queued() if token in self.good_tokens else web.json_response({"detail": "no"}, status=401)

    def _tokens(self) -> web.Response:
        name = str(self.logins + self.refreshes)
        self.good_tokens.add(name)
        self.good_refresh_tokens.add(f"refresh {name}")
        return web.json_response(
            {
                "access_token": name,
                "refresh_token": f"refresh {name}",
                "token_type": "Bearer",
                "expires_in": self._expires_in,
            }
        )


def _finished(**fields: Any) -> web.Response:
    return web.json_response({"id": "10", "status": "completed", "generation": 1, **fields})


def _queued() -> web.Response:
    return web.json_response({"id": "10", "status": "queued"})


@asynccontextmanager
async def serving(respond: Callable[[web.Request], Any]) -> AsyncIterator[str]:
    """A server that responds to everything with a function."""

    async def handle(request: web.Request) -> web.StreamResponse:
        result = respond(request)
        response: web.StreamResponse = await result if asyncio.iscoroutine(result) else result
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
