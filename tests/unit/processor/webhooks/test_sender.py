"""One attempt to send an event, to receivers that behave and to others."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final

import aiohttp
import pytest
from standardwebhooks.webhooks import Webhook

from processor.webhooks import egress, sender
from processor.webhooks.egress import RefusedAddressError, checked_connector
from processor.webhooks.message import WebhookMessage
from processor.webhooks.name_lookup import open_name_lookup, system_lookup
from processor.webhooks.sender import MAX_ANSWER_BYTES, open_webhook_sender
from shared.domain.errors import ConfigurationError
from shared.domain.webhook import new_webhook_secret
from shared.egress import EgressRules, read_networks
from shared.ports.webhook_dispatch import LONGEST_WAIT_S
from shared.release import RELEASE
from tests.support.certificates import CertificateAuthority
from tests.unit.processor.webhooks.receivers import OK, answer, hang, open_receiver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from processor.webhooks.sender import WebhookSender
    from shared.ports.webhook_dispatch import Attempt

_PUBLIC_ALONE: Final = EgressRules()
_RULES: Final = EgressRules(read_networks("127.0.0.2"))
_MESSAGE: Final = WebhookMessage("0b0f7a1e-8f2b-5d0c-9c55-4f1f6f2f4d11", b'{"specversion":"1.0"}')
_SECRETS: Final = (new_webhook_secret(), new_webhook_secret())
_NOON_S: Final = 1_796_126_400.0  # Tue, 01 Dec 2026 12:00:00 GMT
_WITHIN_S: Final = 60.0
_SHORT_S: Final = 0.1

# One of each kind of network, and each way in which an IPv6 address can hold an IPv4 one.
_NOT_ALLOWED: Final = (
    "0.0.0.0",  # noqa: S104 - nothing is bound to it
    *("127.0.0.1", "127.255.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1"),
    *("169.254.0.1", "169.254.169.254", "168.63.129.16", "192.0.0.1", "192.0.2.1", "198.18.0.1"),
    *("224.0.0.1", "255.255.255.255", "::", "::1", "fc00::1", "fe80::1", "fe80::1%lo", "fec0::1", "ff02::1"),
    *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::a00:1"),
    *("64:ff9b:1::a00:1", "2002:7f00:1::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1"),
    *("fd00:ec2::254", "::ffff:0:7f00:1"),
)


class _Lookups:
    """Answers lookups from a script: the addresses of each in turn, the last again and again."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = answers
        self.names: list[str] = []

    def __call__(self, name: str) -> Sequence[str]:
        self.names.append(name)
        return self._answers[min(len(self.names), len(self._answers)) - 1]


@pytest.fixture
async def webhooks() -> AsyncIterator[WebhookSender]:
    """A sender that may call 127.0.0.2 and public addresses."""
    async with asyncio.timeout(_WITHIN_S), open_webhook_sender(_RULES) as opened:
        yield opened


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The sockets that were made for connections, which are none."""
    made: list[object] = []

    def refuse(*arguments: object) -> socket.socket:
        made.append(arguments)
        raise OSError("no socket may be made")

    monkeypatch.setattr(egress, "socket", SimpleNamespace(**vars(socket) | {"socket": refuse}))
    return made


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    return CertificateAuthority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def tls_of(authority: CertificateAuthority) -> Callable[[str], ssl.SSLContext]:
    """The TLS of a receiver of this name."""

    def sign(name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.sign(name))
        return context

    return sign


async def _send(url: str, *, rules: EgressRules = _RULES, lookups: _Lookups | None = None) -> Attempt:
    async with (
        asyncio.timeout(_WITHIN_S),
        open_webhook_sender(rules, look_up=lookups or system_lookup) as webhooks,
    ):
        return await webhooks.send(url, _SECRETS, _MESSAGE)


class TestRequest:
    async def test_it_is_signed_with_all_secrets_and_says_what_it_is(self, webhooks: WebhookSender) -> None:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        async with open_receiver(OK) as receiver:
            attempt = await webhooks.send(receiver.url, _SECRETS, _MESSAGE._replace(traceparent=trace))

        assert (attempt.status, attempt.error, attempt.is_delivered) == (200, None, True)
        (request,) = receiver.requests
        assert (request.line, request.body) == ("POST /hook?a=b HTTP/1.1", _MESSAGE.body)
        for secret in _SECRETS:
            Webhook(secret).verify(request.body, request.headers)
        assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < _WITHIN_S
        del request.headers["webhook-timestamp"], request.headers["webhook-signature"]
        assert request.headers == {
            "host": f"127.0.0.2:{receiver.port}",
            "user-agent": f"Isoline-Webhook/{RELEASE}",
            "content-type": "application/cloudevents+json",
            "content-length": str(len(_MESSAGE.body)),
            "webhook-id": _MESSAGE.id,
            "traceparent": trace,
            "accept": "*/*",
            "accept-encoding": "identity",
        }

    async def test_the_next_one_goes_over_the_same_connection_and_brings_no_cookie(
        self, webhooks: WebhookSender
    ) -> None:
        async with open_receiver(answer(200, "Set-Cookie: a=b; Path=/"), OK) as receiver:
            attempts = [await webhooks.send(receiver.url, _SECRETS, _MESSAGE) for _ in range(2)]

        assert all(attempt.is_delivered for attempt in attempts)
        assert receiver.num_connections == 1
        assert "cookie" not in receiver.requests[1].headers
        assert "traceparent" not in receiver.requests[1].headers

    async def test_a_connection_that_was_closed_while_it_was_idle_costs_no_attempt(
        self, webhooks: WebhookSender
    ) -> None:
        async def close(writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        async with open_receiver(OK, close, OK) as receiver:
            attempts = [await webhooks.send(receiver.url, _SECRETS, _MESSAGE) for _ in range(2)]

        assert [attempt.error for attempt in attempts] == [None, None]
        assert receiver.num_connections == 2

    @pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"])
    async def test_no_proxy_of_the_environment_is_asked(
        self, monkeypatch: pytest.MonkeyPatch, name: str, tmp_path: Path
    ) -> None:
        (tmp_path / "netrc").write_text("machine 127.0.0.2 login me password canary\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        async with open_receiver(OK) as receiver, open_receiver(OK) as proxy:
            monkeypatch.setenv(name, f"http://{proxy.host}:{proxy.port}")
            attempt = await _send(receiver.url)

        assert attempt.is_delivered
        assert "authorization" not in receiver.requests[0].headers
        assert proxy.num_connections == 0


class TestAnswers:
    @pytest.mark.parametrize("status", [200, 201, 204, 299])
    async def test_any_2xx_takes_the_event(self, status: int) -> None:
        async with open_receiver(answer(status)) as receiver:
            attempt = await _send(receiver.url)

        assert (attempt.status, attempt.error, attempt.is_gone) == (status, None, False)

    @pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 502, 503, 504])
    async def test_any_other_status_is_a_failure_that_names_it(self, status: int) -> None:
        async with open_receiver(answer(status)) as receiver:
            attempt = await _send(receiver.url)

        assert (attempt.status, attempt.error) == (status, f"the receiver answered {status}")
        assert not attempt.is_delivered
        assert not attempt.is_gone

    async def test_410_says_that_the_receiver_wants_no_more(self) -> None:
        async with open_receiver(answer(410)) as receiver:
            attempt = await _send(receiver.url)

        assert (attempt.status, attempt.error, attempt.is_gone) == (410, "the receiver answered 410", True)

    @pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
    async def test_a_redirect_is_not_followed(self, status: int) -> None:
        async with (
            open_receiver(OK) as elsewhere,
            open_receiver(answer(status, f"Location: {elsewhere.url}")) as receiver,
        ):
            attempt = await _send(receiver.url)

        assert attempt.error == f"the receiver answered {status}: redirects are not followed"
        assert elsewhere.num_connections == 0

    @pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "[::1]", "10.0.0.1"])
    async def test_a_redirect_into_the_network_is_not_followed(self, address: str) -> None:
        async with open_receiver(answer(307, f"Location: http://{address}/latest/meta-data")) as receiver:
            attempt = await _send(receiver.url)

        assert attempt.error == "the receiver answered 307: redirects are not followed"

    @pytest.mark.parametrize(
        ("header", "expected"),
        [
            ("0", 0.0),
            ("120", 120.0),
            ("3601", LONGEST_WAIT_S),
            ("999999999", LONGEST_WAIT_S),
            ("Tue, 01 Dec 2026 12:00:30 GMT", 30.0),
            ("Tue, 01 Dec 2026 11:00:00 GMT", 0.0),
            ("Wed, 02 Dec 2026 12:00:00 GMT", LONGEST_WAIT_S),
            ("Tuesday, 01-Dec-26 12:00:10 GMT", 10.0),
            ("", None),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
            ("٣", None),
            ("9" * 10, LONGEST_WAIT_S),
            ("9" * 5000, None),
            ("Tue, 41 Dec 2026 12:00:30 GMT", None),
            ("Tue, 01 Dec 99999 12:00:30 GMT", None),
            ("Tue, 01 Dec 99999999999999999999 00:00:00 GMT", None),
            ("Tue, 01 Dec 2026 00:00:00 +99999999999999", None),
            ("Mon, 01 Jan 0001 00:00:00 +2359", 0.0),
        ],
        ids=lambda value: str(value)[:40].encode("unicode_escape").decode(),
    )
    async def test_retry_after_is_seconds_or_a_date_an_hour_ahead_at_most(
        self, header: str, expected: float | None
    ) -> None:
        line = f"Retry-After: {header}"
        async with (
            open_receiver(answer(503, line)) as receiver,
            open_webhook_sender(_RULES, clock=lambda: _NOON_S) as webhooks,
        ):
            attempt = await webhooks.send(receiver.url, _SECRETS, _MESSAGE)

        assert (attempt.status, attempt.retry_after_s) == (503, expected)

    @pytest.mark.parametrize(
        "head",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n",
        ],
        ids=["announced", "chunked", "until the end of the connection"],
    )
    async def test_of_an_answer_without_end_64_kib_are_read(
        self, head: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sender, "_READ_ANSWER_S", _WITHIN_S)
        is_cut = asyncio.Event()

        async def talk(writer: asyncio.StreamWriter) -> None:
            writer.write(head)
            try:
                while True:
                    writer.write(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
                    await writer.drain()
                    await asyncio.sleep(0)
            except OSError:
                is_cut.set()

        async with asyncio.timeout(_WITHIN_S), open_receiver(talk) as receiver:
            attempt = await _send(receiver.url)
            await is_cut.wait()

        assert (attempt.status, attempt.error) == (200, None)

    async def test_an_answer_of_64_kib_leaves_the_connection_usable(
        self, webhooks: WebhookSender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sender, "_READ_ANSWER_S", _WITHIN_S)
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {MAX_ANSWER_BYTES}\r\n\r\n".encode()
        async with open_receiver(head + b"x" * MAX_ANSWER_BYTES) as receiver:
            attempts = [await webhooks.send(receiver.url, _SECRETS, _MESSAGE) for _ in range(2)]

        assert [attempt.error for attempt in attempts] == [None, None]
        assert receiver.num_connections == 1

    async def test_the_status_counts_though_the_body_never_ends(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sender, "_READ_ANSWER_S", _SHORT_S)

        async def drip(writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
            await hang(writer)

        async with open_receiver(drip) as receiver:
            attempt = await _send(receiver.url)

        assert (attempt.status, attempt.error) == (200, None)

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
    async def test_no_body_is_unpacked(self, encoding: str) -> None:
        packed = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: 4\r\n\r\nnone".encode()
        async with open_receiver(packed) as receiver:
            attempt = await _send(receiver.url)

        assert (attempt.status, attempt.error) == (200, None)

    @pytest.mark.parametrize(
        "head",
        [
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2**20 + b"\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 20_000 + b"\r\n",
            b"HTTP/1.1 200 " + b"O" * 2**20 + b"\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"HTTP/1.1 abc OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"\x00" * 100,
        ],
        ids=["a long header", "many headers", "a long reason", "ssh", "no status", "no length", "zeros"],
    )
    async def test_what_is_no_head_of_http_is_a_failure(self, head: bytes) -> None:
        async with open_receiver(head) as receiver:
            attempt = await _send(receiver.url)

        assert attempt.status is None
        assert attempt.error == "the receiver's answer is no HTTP, or its head is too long"

    async def test_a_receiver_that_goes_without_an_answer_is_a_failure(self) -> None:
        async def leave(writer: asyncio.StreamWriter) -> None:
            del writer

        async with open_receiver(leave) as receiver:
            attempt = await _send(receiver.url)

        assert attempt.error == "the receiver closed the connection without an answer"

    async def test_a_receiver_that_resets_the_connection_is_a_failure(self) -> None:
        async def reset(writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        async with open_receiver(reset) as receiver:
            attempt = await _send(receiver.url)

        assert attempt.error == "the receiver closed the connection without an answer"

    @pytest.mark.parametrize("beginning", [b"", b"HTTP/1.1 200 OK\r\nX: "], ids=["nothing", "half a head"])
    async def test_a_receiver_that_does_not_answer_in_time_is_a_failure(
        self, monkeypatch: pytest.MonkeyPatch, beginning: bytes
    ) -> None:
        monkeypatch.setattr(sender, "ATTEMPT_S", _SHORT_S)

        async def drip(writer: asyncio.StreamWriter) -> None:
            writer.write(beginning)
            while True:
                writer.write(b"x" if beginning else b"")
                await asyncio.sleep(_SHORT_S / 10)

        async with open_receiver(drip) as receiver:
            attempt = await _send(receiver.url)

        assert (attempt.status, attempt.error) == (None, "the receiver did not answer within 15 s")

    async def test_a_receiver_that_is_not_there_is_a_failure(self) -> None:
        async with open_receiver(OK) as receiver:
            pass

        attempt = await _send(receiver.url)

        assert (attempt.status, attempt.error) == (None, "the receiver refused the connection")
        assert attempt.duration_s >= 0


class TestAddresses:
    @pytest.mark.parametrize("address", _NOT_ALLOWED)
    async def test_a_name_of_an_address_that_is_not_allowed_gets_no_socket(
        self, no_sockets: list[object], address: str
    ) -> None:
        lookups = _Lookups([address])

        attempt = await _send("https://receiver.test/", rules=_PUBLIC_ALONE, lookups=lookups)

        assert attempt.error is not None
        assert attempt.error.startswith("the receiver can't be called: its address is not allowed: it is ")
        assert address not in attempt.error
        assert lookups.names == ["receiver.test"]
        assert no_sockets == []

    @pytest.mark.parametrize("address", [each for each in _NOT_ALLOWED if "%" not in each])
    async def test_a_literal_address_that_is_not_allowed_gets_no_socket(
        self, no_sockets: list[object], address: str
    ) -> None:
        host = f"[{address}]" if ":" in address else address
        lookups = _Lookups(["1.1.1.1"])

        attempt = await _send(f"https://{host}/", rules=_PUBLIC_ALONE, lookups=lookups)

        assert attempt.error is not None
        assert attempt.error.startswith("the receiver can't be called: its address is not allowed: it is ")
        assert lookups.names == []
        assert no_sockets == []

    @pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost.", "a@b"])
    async def test_a_host_in_a_doubtful_form_gets_no_socket(
        self, no_sockets: list[object], host: str
    ) -> None:
        attempt = await _send(f"http://{host}/")

        assert attempt.error is not None
        assert attempt.error.startswith("the receiver can't be called: ")
        assert no_sockets == []

    @pytest.mark.parametrize("addresses", [["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "127.0.0.2"]])
    async def test_a_name_is_refused_if_one_of_its_addresses_is(
        self, no_sockets: list[object], addresses: list[str]
    ) -> None:
        attempt = await _send("http://receiver.test/", lookups=_Lookups(addresses))

        assert attempt.error == "the receiver can't be called: its address is not allowed: it is loopback"
        assert no_sockets == []

    async def test_a_public_name_is_called_by_https_alone(self, no_sockets: list[object]) -> None:
        attempt = await _send("http://receiver.test/", lookups=_Lookups(["1.1.1.1"]))

        assert attempt.error is not None
        assert attempt.error.endswith("http is for networks of the operator alone, use https")
        assert no_sockets == []

    async def test_http_needs_networks_of_the_operator(self, no_sockets: list[object]) -> None:
        lookups = _Lookups(["1.1.1.1"])

        attempt = await _send("http://receiver.test/", rules=_PUBLIC_ALONE, lookups=lookups)

        assert attempt.error == "the receiver can't be called: https:// is expected"
        assert lookups.names == []
        assert no_sockets == []

    async def test_a_public_address_is_connected_to(self, no_sockets: list[object]) -> None:
        attempt = await _send("https://receiver.test/", rules=_PUBLIC_ALONE, lookups=_Lookups(["1.1.1.1"]))

        assert attempt.error == "the receiver could not be reached"
        assert len(no_sockets) == 1

    async def test_a_name_that_changes_after_the_check_is_called_where_it_was_checked(
        self,
    ) -> None:
        lookups = _Lookups(["127.0.0.2"], ["127.0.0.1"])
        async with (
            open_receiver(answer(200, "Connection: close")) as checked,
            open_receiver(OK, host="127.0.0.1", port=checked.port) as behind,
            open_webhook_sender(_RULES, look_up=lookups) as webhooks,
        ):
            url = f"http://receiver.test:{checked.port}/"
            first = await webhooks.send(url, _SECRETS, _MESSAGE)
            assert first.is_delivered
            assert lookups.names == ["receiver.test"]

            second = await webhooks.send(url, _SECRETS, _MESSAGE)

        assert second.error == "the receiver can't be called: its address is not allowed: it is loopback"
        assert lookups.names == ["receiver.test"] * 2  # each connection is checked, and looked up once
        assert (checked.num_connections, behind.num_connections) == (1, 0)
        assert checked.requests[0].headers["host"] == f"receiver.test:{checked.port}"

    async def test_an_open_connection_stays_where_it_was_checked(self) -> None:
        lookups = _Lookups(["127.0.0.2"], ["127.0.0.1"])
        async with (
            open_receiver(OK) as checked,
            open_webhook_sender(_RULES, look_up=lookups) as webhooks,
        ):
            url = f"http://receiver.test:{checked.port}/"
            attempts = [await webhooks.send(url, _SECRETS, _MESSAGE) for _ in range(3)]

        assert all(attempt.is_delivered for attempt in attempts)
        assert (checked.num_connections, lookups.names) == (1, ["receiver.test"])

    @pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
    async def test_no_connection_goes_past_the_check(self, host: str) -> None:
        async with (
            open_name_lookup(system_lookup) as names,
            aiohttp.ClientSession(
                connector=checked_connector(names, _RULES, scheme="http", tls=ssl.create_default_context())
            ) as session,
        ):
            with pytest.raises(aiohttp.ClientConnectorError) as caught:
                await session.get(f"http://{host}:1/")

        assert isinstance(caught.value.os_error, RefusedAddressError)

    async def test_a_second_address_is_tried_if_the_first_refuses(self) -> None:
        rules = EgressRules(read_networks("127.0.0.2/31"))
        async with open_receiver(OK) as receiver:
            url = f"http://receiver.test:{receiver.port}/"
            attempt = await _send(url, rules=rules, lookups=_Lookups(["127.0.0.3", "127.0.0.2"]))

        assert attempt.is_delivered


class TestTls:
    @staticmethod
    async def _send(port: int, ca_file: str) -> Attempt:
        async with (
            asyncio.timeout(_WITHIN_S),
            open_webhook_sender(_RULES, ca_file=ca_file, look_up=_Lookups(["127.0.0.2"])) as webhooks,
        ):
            return await webhooks.send(f"https://receiver.test:{port}/", _SECRETS, _MESSAGE)

    async def test_the_name_is_verified_though_an_address_is_connected_to(
        self, authority: CertificateAuthority, tls_of: Callable[[str], ssl.SSLContext]
    ) -> None:
        async with open_receiver(OK, tls=tls_of("receiver.test")) as receiver:
            attempt = await self._send(receiver.port, str(authority.certificate))

        assert (attempt.status, attempt.error) == (200, None)

    async def test_a_certificate_of_another_name_is_refused(
        self, authority: CertificateAuthority, tls_of: Callable[[str], ssl.SSLContext]
    ) -> None:
        async with open_receiver(OK, tls=tls_of("elsewhere.test")) as receiver:
            attempt = await self._send(receiver.port, str(authority.certificate))

        assert attempt.error is not None
        assert attempt.error.startswith("the receiver's certificate is not accepted: Hostname mismatch")
        assert receiver.requests == []

    async def test_a_certificate_of_an_unknown_authority_is_refused(
        self, tls_of: Callable[[str], ssl.SSLContext]
    ) -> None:
        async with open_receiver(OK, tls=tls_of("receiver.test")) as receiver:
            attempt = await self._send(receiver.port, "")

        assert attempt.error is not None
        assert attempt.error.startswith(
            "the receiver's certificate is not accepted: unable to get local issuer"
        )
        assert receiver.requests == []

    async def test_https_is_not_spoken_to_a_receiver_of_http(self) -> None:
        async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(refuse, "127.0.0.2") as server:
            attempt = await self._send(server.sockets[0].getsockname()[1], "")

        assert attempt.error == "the receiver does not speak TLS as it should"

    async def test_a_handshake_without_end_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sender, "CONNECT_S", _SHORT_S)
        async with open_receiver(OK) as receiver:
            attempt = await self._send(receiver.port, "")

        assert attempt.error == "the receiver took no connection within 5 s"

    @pytest.mark.parametrize("content", [None, "no certificate"])
    def test_a_file_without_authorities_is_told_at_start(self, tmp_path: Path, content: str | None) -> None:
        file = tmp_path / "ca.pem"
        if content is not None:
            file.write_text(content)

        with pytest.raises(ConfigurationError, match=r"^ISOLINE_WEBHOOK_CA_FILE: can't use .*ca\.pem: "):
            sender._tls(str(file))


class TestMistakes:
    @pytest.mark.parametrize("url", ["", "http://", "https://a b", "javascript:alert(1)", "https://[::1"])
    async def test_a_url_that_can_not_be_called_is_a_failure(self, url: str) -> None:
        attempt = await _send(url)

        assert attempt.error is not None
        assert attempt.error.startswith("the receiver can't be called: ")

    async def test_a_secret_that_can_not_sign_is_a_failure(self, webhooks: WebhookSender) -> None:
        attempt = await webhooks.send("http://127.0.0.2:1/", ["whsec_canary"], _MESSAGE)

        assert attempt.error is not None
        assert "canary" not in attempt.error

    async def test_a_header_that_would_be_two_is_a_failure(self, webhooks: WebhookSender) -> None:
        async with open_receiver(OK) as receiver:
            message = _MESSAGE._replace(traceparent="00-a\r\nx: y")
            attempt = await webhooks.send(receiver.url, _SECRETS, message)

        assert not attempt.is_delivered
        assert receiver.requests == []

    async def test_a_cancellation_is_passed_on(self, webhooks: WebhookSender) -> None:
        began = asyncio.Event()

        async def notice(writer: asyncio.StreamWriter) -> None:
            began.set()
            await hang(writer)

        async with open_receiver(notice) as receiver:
            task = asyncio.create_task(webhooks.send(receiver.url, _SECRETS, _MESSAGE))
            await began.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
