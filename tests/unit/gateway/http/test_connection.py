"""The limits of a connection, and the order of its responses."""

from __future__ import annotations

import asyncio
import select
import socket
from contextvars import ContextVar
from typing import TYPE_CHECKING
from unittest.mock import Mock, patch
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from gateway.http.connections.connection import Connection, WriteBatch, make_server
from gateway.http.connections.connection_limit import ConnectionLimit
from gateway.http.problems import ProblemError
from gateway.http.responses import Head, Response
from gateway.http.server import open_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from gateway.http.request import Handler, Request


@pytest.fixture
def transport() -> Mock:
    return a_transport()


def a_transport() -> Mock:
    transport = Mock(asyncio.Transport)
    transport.get_extra_info.return_value = None
    transport.is_closing.return_value = False
    transport.get_write_buffer_size.return_value = 100_000
    return transport


def a_connection(
    handler: Handler, transport: Mock, *, head_timeout_s: float = 10, limit: ConnectionLimit | None = None
) -> Connection:
    loop = asyncio.get_running_loop()
    connection = Connection(
        make_server(handler),
        loop=loop,
        write_batch=WriteBatch(loop),
        limit=limit or ConnectionLimit(1000),
        head_timeout_s=head_timeout_s,
    )
    connection.connection_made(transport)
    return connection


def written(transport: Mock) -> list[bytes]:
    return [
        sent
        for name, given, _ in transport.method_calls
        if name in {"write", "writelines"}
        for sent in (given if name == "write" else given[0])
    ]


class TestWriting:
    """When a response is written."""

    @pytest.fixture
    async def connection(self, transport: Mock) -> AsyncIterator[Connection]:
        async def respond(_: Request) -> Response:
            return Response(Head())

        connection = a_connection(respond, transport)
        yield connection
        connection.connection_lost(None)

    async def test_a_response_is_written_at_the_end_of_the_iteration(
        self, connection: Connection, transport: Mock
    ) -> None:
        connection.send(b"answer", b"", is_last=False)
        at_once = written(transport)

        await asyncio.sleep(0)

        assert (at_once, written(transport)) == ([], [b"answer"])

    async def test_the_last_response_of_a_connection_is_written_at_once(
        self, connection: Connection, transport: Mock
    ) -> None:
        connection.send(b"answer", b"", is_last=True)

        assert written(transport) == [b"answer"]

    @pytest.mark.parametrize("end", [Connection.close, Connection.force_close])
    async def test_closing_writes_buffered_responses_first(
        self, connection: Connection, transport: Mock, end: Callable[[Connection], None]
    ) -> None:
        connection.send(b"answer", b"", is_last=False)

        end(connection)

        assert [name for name, *_ in transport.method_calls if name in ("write", "close")][:1] == ["write"]
        await asyncio.sleep(0)
        assert written(transport) == [b"answer"]

    @pytest.mark.parametrize("end", [Connection.close, Connection.force_close])
    async def test_nothing_is_buffered_once_a_connection_is_closing(
        self, connection: Connection, transport: Mock, end: Callable[[Connection], None]
    ) -> None:
        end(connection)

        connection.send(b"answer", b"", is_last=False)

        assert written(transport) == ([b"answer"] if end is Connection.close else [])

    async def test_a_buffered_response_is_dropped_when_its_client_disconnects(
        self, connection: Connection, transport: Mock
    ) -> None:
        connection.send(b"answer", b"", is_last=False)

        connection.transport = None
        await asyncio.sleep(0)

        assert written(transport) == []


class TestBackpressure:
    """Clients that don't read their responses."""

    @pytest.fixture
    def body(self) -> bytes:
        return b"x" * 100_000

    @pytest.fixture
    async def connection(self, transport: Mock, body: bytes) -> AsyncIterator[Connection]:
        async def respond(_: Request) -> Response:
            return Response(Head(), body)

        connection = a_connection(respond, transport)
        yield connection
        connection.connection_lost(None)

    async def test_pipelined_responses_share_one_copy_of_a_large_body(
        self, connection: Connection, transport: Mock, body: bytes
    ) -> None:
        connection.data_received(_SMALL_GET * 3)
        await iterations(20)

        assert [sent is body for sent in written(transport)] == [False, True] * 3

    async def test_the_next_response_waits_until_writing_resumes(
        self, connection: Connection, transport: Mock
    ) -> None:
        connection.pause_writing()
        connection.data_received(_SMALL_GET * 3)
        await iterations(20)
        before = written(transport)

        connection.resume_writing()
        await iterations(20)

        assert (before, len(written(transport))) == ([], 6)

    async def test_a_connection_is_aborted_when_its_client_reads_nothing(
        self, connection: Connection, transport: Mock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gateway.http.connections.connection._WRITE_STALL_TIMEOUT_S", 0)
        transport.abort.side_effect = lambda: connection.connection_lost(None)
        connection.pause_writing()

        connection.data_received(_SMALL_GET * 3)
        await iterations(20)

        assert transport.abort.called
        assert written(transport) == []

    @pytest.mark.parametrize("end", [None, Connection.close, Connection.force_close])
    async def test_a_stalled_connection_is_aborted_without_further_responses_and_while_closing(
        self,
        connection: Connection,
        transport: Mock,
        monkeypatch: pytest.MonkeyPatch,
        end: Callable[[Connection], None] | None,
    ) -> None:
        monkeypatch.setattr("gateway.http.connections.connection._WRITE_STALL_TIMEOUT_S", 0)

        connection.pause_writing()
        if end is not None:
            end(connection)
        await iterations(20)

        assert transport.abort.called

    async def test_a_client_that_reads_slowly_keeps_its_connection(
        self, connection: Connection, transport: Mock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gateway.http.connections.connection._WRITE_STALL_TIMEOUT_S", 0)
        transport.get_write_buffer_size.side_effect = range(100_000, 0, -1)
        connection.pause_writing()
        connection.data_received(_SMALL_GET)
        await iterations(20)

        connection.resume_writing()
        await iterations(20)
        checks = transport.get_write_buffer_size.call_count
        await iterations(20)

        assert not transport.abort.called
        assert len(written(transport)) == 2
        assert transport.get_write_buffer_size.call_count == checks

    async def test_a_real_client_that_reads_nothing_gets_a_reset(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gateway.http.connections.connection._WRITE_STALL_TIMEOUT_S", 0.1)
        body = bytes(2**24)  # more than a kernel keeps

        async def respond(_: Request) -> Response:
            return Response(Head(), body)

        async with open_server(respond, "127.0.0.1", 0, head_timeout_s=10, max_connections=10) as address:
            with socket.create_connection(("127.0.0.1", urlsplit(address).port or 0)) as client:
                client.sendall(_SMALL_GET)
                poll = select.poll()
                poll.register(client, 0)  # errors are told without being asked for

                [(_, event)] = await asyncio.to_thread(poll.poll, 10_000)

        assert event & select.POLLERR

    @pytest.mark.usefixtures("connection")
    async def test_the_write_buffer_pauses_writing_from_the_first_byte(self, transport: Mock) -> None:
        transport.set_write_buffer_limits.assert_called_once_with(high=0)


class TestLimits:
    """How much is read before a request is refused: bytes are counted, nothing is timed."""

    @pytest.fixture
    async def bodies(self) -> list[object]:
        """The sizes of the bodies that were read, or the details of their problems."""
        return []

    @pytest.fixture
    async def reading(self, transport: Mock, bodies: list[object]) -> AsyncIterator[Connection]:
        async def read(request: Request) -> Response:
            try:
                bodies.append(len(await request.content.read()))
            except ProblemError as error:
                bodies.append(error.detail)
            return Response(Head())

        connection = a_connection(read, transport)
        yield connection
        connection.connection_lost(None)

    async def feed(self, connection: Connection, data: bytes, piece: int = 1024) -> None:
        for start in range(0, len(data), piece):
            connection.data_received(data[start : start + piece])
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)

    @pytest.mark.parametrize(
        "chunk", [b"1\r\n \r\n", b"1;" + b"x" * 500 + b"\r\n \r\n", b"%x\r\n%b\r\n" % (32, b" " * 32)]
    )
    async def test_a_body_that_is_mostly_framing_is_refused(
        self, reading: Connection, bodies: list[object], chunk: bytes
    ) -> None:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

        await self.feed(reading, head + chunk * (2**20 // len(chunk)))

        [detail] = bodies
        assert "too much around too little" in str(detail)

    @pytest.mark.parametrize(("size", "count"), [(1, 5000), (50, 20_000), (1000, 500)])
    async def test_a_short_body_in_small_chunks_is_accepted(
        self, reading: Connection, bodies: list[object], size: int, count: int
    ) -> None:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunk = b"%x\r\n%b\r\n" % (size, b" " * size)

        await self.feed(reading, head + chunk * count + b"0\r\n\r\n")

        assert bodies == [size * count]

    async def test_a_body_with_a_content_length_is_accepted_in_any_pieces(
        self, reading: Connection, bodies: list[object]
    ) -> None:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n"

        await self.feed(reading, head + b" " * 2_000_000, piece=60_000)

        assert bodies == [2_000_000]

    async def test_an_endless_head_is_refused_early(
        self, reading: Connection, transport: Mock, bodies: list[object]
    ) -> None:
        head = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: %b\r\n" % (b"x" * 1000) * 33

        await self.feed(reading, head)

        [respond] = written(transport)
        assert respond.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n")
        assert bodies == []

    async def test_a_large_head_is_refused_among_small_ones(
        self, reading: Connection, transport: Mock, bodies: list[object]
    ) -> None:
        small = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        large = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: %b\r\n" % (b"x" * 8000) * 5 + b"\r\n"

        await self.feed(reading, small + large + small, piece=100_000)

        statuses = [respond.split(b" ")[1] for respond in written(transport) if respond.startswith(b"HTTP/")]
        assert statuses == [b"200", b"431"]
        assert bodies == [0]

    async def test_the_size_of_a_head_does_not_include_the_body_before_it(
        self, reading: Connection, bodies: list[object]
    ) -> None:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"

        for _ in range(3):
            await self.feed(reading, head + b" " * 60_000)

        assert bodies == [60_000] * 3

    @pytest.mark.parametrize(
        ("framing", "body"),
        [
            (b"Content-Length: 60000", b" " * 60_000),
            (b"Transfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (60_000, b" " * 60_000)),
        ],
    )
    @pytest.mark.parametrize("behind", [b"", b"GET / HT"])
    async def test_the_end_of_a_body_that_was_not_awaited_is_no_head(
        self, transport: Mock, framing: bytes, body: bytes, behind: bytes
    ) -> None:
        async def refuse(_: Request) -> Response:
            return Response(Head())

        connection = a_connection(refuse, transport, head_timeout_s=0.05)
        head = b"POST / HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n"
        next_request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

        await self.feed(connection, head)
        await self.feed(connection, body + behind, piece=100_000)
        if not behind:
            await asyncio.sleep(0.1)  # twice as long as a head may take: none has begun
        await self.feed(connection, next_request.removeprefix(behind))

        assert [respond.split(b" ")[1] for respond in written(transport)] == [b"200", b"200"]
        connection.connection_lost(None)

    @pytest.mark.parametrize(
        "broken",
        [
            (b"zz\r\n", "not as HTTP/1.1 has them"),
            (b"1\r\nabc\r\n", "not as HTTP/1.1 has them"),
            (b"0\r\nX-Sum\r\n\r\n", "not as HTTP/1.1 has them"),
            (b"0\r\nX-Sum: \0\r\n\r\n", "not as HTTP/1.1 has them"),
            (b"0\r\n" + b"X-Sum: 1\r\n" * 20_000, "and 100 fields"),
            (b"0\r\nX-Sum: " + b"1" * 20_000, "a line of it 8190 bytes"),
            (b"0\r\n" + (b"X-Sum: " + b"1" * 1000 + b"\r\n") * 40, "too much around too little"),
        ],
    )
    async def test_a_malformed_body_is_refused_at_once_and_its_rest_is_not_parsed(
        self, reading: Connection, transport: Mock, bodies: list[object], broken: tuple[bytes, str]
    ) -> None:
        sent, expected = broken
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        await self.feed(reading, head + b"2\r\n{}\r\n")
        await self.feed(reading, sent)

        with patch.object(web.RequestHandler, "data_received") as parse:
            await self.feed(reading, b"0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")

        [detail] = bodies
        assert expected in str(detail)
        assert [respond[:12] for respond in written(transport)] == [b"HTTP/1.1 200"]  # of the handler above
        assert transport.close.called
        parse.assert_not_called()

    async def test_a_malformed_body_ends_the_requests_behind_it_and_none_before(
        self, reading: Connection, transport: Mock, bodies: list[object]
    ) -> None:
        whole = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
        chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

        reading.data_received(whole * 3 + chunked)
        await self.feed(reading, b"zz\r\n" + whole)

        assert bodies[:3] == [2, 2, 2]
        assert "not as HTTP/1.1 has them" in str(bodies[3])
        assert len(bodies) == len(written(transport)) == 4

    async def test_a_body_that_arrives_at_once_is_refused_before_all_of_it_is_parsed(
        self, reading: Connection, bodies: list[object], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        parsed = []
        receive = web.RequestHandler.data_received

        def counted(connection: web.RequestHandler, data: bytes) -> None:
            parsed.append(len(data))
            receive(connection, data)

        monkeypatch.setattr(web.RequestHandler, "data_received", counted)

        await self.feed(reading, head + b"1\r\n \r\n" * 100_000, piece=2**20)

        assert len(bodies) == 1
        assert sum(parsed) <= 192 * 1024


_SMALL_GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class TestPipelines:
    """Pipelined requests: iterations of the event loop are counted."""

    @pytest.fixture
    async def answered(self) -> list[str]:
        """The names of the connections whose requests were answered, in order."""
        return []

    @pytest.fixture
    async def connect(self, answered: list[str]) -> AsyncIterator[Callable[[str], Connection]]:
        connections: list[Connection] = []

        async def respond(request: Request) -> Response:
            answered.append(request.transport.name)  # type: ignore[union-attr] # see below
            return Response(Head())

        def connect(name: str) -> Connection:
            transport = a_transport()
            transport.name = name
            connections.append(a_connection(respond, transport))
            return connections[-1]

        yield connect
        for connection in connections:
            connection.connection_lost(None)

    async def test_another_connection_is_served_between_pipelined_responses(
        self, connect: Callable[[str], Connection], answered: list[str]
    ) -> None:
        pipelined, other = connect("pipelined"), connect("other")
        await asyncio.sleep(0)

        pipelined.data_received(_SMALL_GET * 100)
        for _ in range(5):
            other.data_received(_SMALL_GET)
            before = len(answered)
            while "other" not in answered[before:]:
                await asyncio.sleep(0)

        assert answered.count("other") == 5
        assert answered.count("pipelined") <= 5 * 4  # one per iteration that the other's request takes

    async def test_pipelined_requests_are_answered_in_an_iteration_each(
        self, connect: Callable[[str], Connection], answered: list[str]
    ) -> None:
        connection = connect("pipelined")
        responses_per_iteration = []

        connection.data_received(_SMALL_GET * 3000)
        while len(answered) < 3000:
            before = len(answered)
            await asyncio.sleep(0)
            responses_per_iteration.append(len(answered) - before)

        assert max(responses_per_iteration) == 1

    async def test_a_single_request_takes_no_additional_iteration(
        self,
        connect: Callable[[str], Connection],
        answered: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        connection = connect("alone")
        await asyncio.sleep(0)
        yields = Mock(side_effect=AssertionError)
        monkeypatch.setattr("asyncio.sleep", yields)

        for _ in range(3):
            connection.data_received(_SMALL_GET)
            await iterations(5)

        assert (len(answered), yields.call_count) == (3, 0)

    async def test_few_pipelined_requests_are_parsed_ahead(
        self, connect: Callable[[str], Connection], answered: list[str]
    ) -> None:
        connection = connect("pipelined")
        ahead = []

        connection.data_received(_SMALL_GET * (2**18 // len(_SMALL_GET)))
        while connection._messages:
            ahead.append(len(connection._messages))
            await asyncio.sleep(0)
        await iterations(5)

        assert max(ahead) <= 32 + 4  # one more for each 64 KiB, of which a read has four
        assert len(answered) == 2**18 // len(_SMALL_GET)


def an_upgrade(protocol: bytes, body: bytes = b"") -> bytes:
    """A request that asks for another protocol."""
    method, length = (b"POST", b"Content-Length: %d\r\n" % len(body)) if body else (b"GET", b"")
    head = b"%b / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %b\r\n%b\r\n"
    return head % (method, protocol, length) + body


class TestUpgrades:
    """Requests for another protocol, which are answered as ordinary requests."""

    @pytest.fixture
    async def connection(self, transport: Mock) -> AsyncIterator[Connection]:
        connection = a_connection(self.respond, transport)
        yield connection
        connection.connection_lost(None)

    async def respond(self, request: Request) -> Response:
        return Response(Head(), b"%d\n" % len(await request.content.read()))

    async def answered(
        self, connection: Connection, transport: Mock, *pieces: bytes
    ) -> list[tuple[int, bool]]:
        """For each response, the length of the request's body, and whether it closes the connection."""
        for piece in pieces:
            connection.data_received(piece)
            await iterations(30)
        responses = b"".join(written(transport)).split(b"HTTP/1.1 200 OK")[1:]
        found = [(int(sent.splitlines()[-1]), b"\r\nConnection: close\r\n" in sent) for sent in responses]
        assert transport.close.called is any(is_last for _, is_last in found)
        return found

    @pytest.mark.parametrize("protocol", [b"h2c", b"foo", b"websocket", b"h2c, foo"])
    @pytest.mark.parametrize("before", [0, 2])
    @pytest.mark.parametrize("behind", [_SMALL_GET, _SMALL_GET * 3, b"GET / HT"])
    async def test_bytes_that_arrive_with_an_upgrade_are_answered_or_close_the_connection(
        self, connection: Connection, transport: Mock, protocol: bytes, before: int, behind: bytes
    ) -> None:
        sent = _SMALL_GET * before + an_upgrade(protocol) + behind

        found = await self.answered(connection, transport, sent, _SMALL_GET)

        assert len(found) >= before + 1
        assert [is_last for _, is_last in found] == [False] * (len(found) - 1) + [True]

    @pytest.mark.parametrize("size", [0, 10, 100_000])
    async def test_a_client_that_asks_for_http_2_and_waits_keeps_its_connection(
        self, connection: Connection, transport: Mock, size: int
    ) -> None:
        sent = an_upgrade(b"h2c", bytes(size))

        found = await self.answered(connection, transport, sent, sent, _SMALL_GET)

        assert found == [(size, False), (size, False), (0, False)]

    @pytest.mark.parametrize("at", [2, 20, -5, -3, -1])
    async def test_it_keeps_its_connection_when_head_and_body_arrive_separately(
        self, connection: Connection, transport: Mock, at: int
    ) -> None:
        sent = an_upgrade(b"h2c", b"x" * 5)

        found = await self.answered(connection, transport, sent[:at], sent[at:], _SMALL_GET)

        assert found == [(5, False), (0, False)]

    @pytest.mark.parametrize("protocol", [b"h2c", b"foo", b"websocket"])
    @pytest.mark.parametrize("framing", ["length", "chunks"])
    async def test_the_body_of_an_upgrade_is_read_to_its_end_in_any_pieces(
        self, connection: Connection, transport: Mock, protocol: bytes, framing: str
    ) -> None:
        sent = an_upgrade(protocol, b"x" * 5)
        if framing == "chunks":
            sent = sent.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
            sent = sent.replace(b"xxxxx", b"5\r\nxxxxx\r\n0\r\n\r\n")

        found = await self.answered(connection, transport, sent[:-6], sent[-6:-2], sent[-2:], _SMALL_GET)

        assert found[0] == (5, len(found) == 1)

    async def test_the_body_of_an_upgrade_that_is_mostly_framing_is_refused(
        self, connection: Connection
    ) -> None:
        sent = an_upgrade(b"foo", b"x").replace(b"Content-Length: 1", b"Transfer-Encoding: chunked")[:-1]
        receive, parsed = web.RequestHandler.data_received, []

        def counted(connection: web.RequestHandler, data: bytes) -> None:
            parsed.append(len(data))
            receive(connection, data)

        with patch.object(web.RequestHandler, "data_received", counted):
            connection.data_received(sent + b"1\r\n \r\n" * 200_000)
            await iterations(30)

        assert sum(parsed) <= 192 * 1024

    @pytest.mark.parametrize("body", [b"", b"x" * 5, b"\r\n\r\n"])
    async def test_a_request_behind_an_upgrade_is_answered_or_the_connection_closes(
        self, body: bytes
    ) -> None:
        sent = an_upgrade(b"h2c", body)
        for at in range(len(sent)):
            transport = a_transport()
            connection = a_connection(self.respond, transport)
            found = await self.answered(connection, transport, sent[:at], sent[at:] + _SMALL_GET)
            connection.connection_lost(None)

            assert found[0] == (len(body), len(found) == 1)

    async def test_the_body_of_an_upgrade_is_read_to_its_end_after_a_pause(
        self, connection: Connection, transport: Mock
    ) -> None:
        sent = an_upgrade(b"h2c", bytes(600_000)) + _SMALL_GET

        found = await self.answered(connection, transport, sent)

        assert found == [(600_000, True)]


async def iterations(count: int) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(count):
        iteration = loop.create_future()
        loop.call_soon(iteration.set_result, None)
        await iteration


async def test_context_variables_are_not_shared_between_requests_of_a_connection(transport: Mock) -> None:
    known: ContextVar[int] = ContextVar("known", default=0)
    found = []

    async def respond(_: Request) -> Response:
        found.append(known.get())
        known.set(known.get() + 1)
        return Response(Head())

    connection = a_connection(respond, transport)
    for _ in range(3):
        connection.data_received(_SMALL_GET)
        await iterations(5)
    connection.data_received(_SMALL_GET * 3)
    await iterations(30)
    connection.connection_lost(None)

    assert found == [0] * 6


class TestUntestedVersion:
    """A version of aiohttp that is not tested: its internals are not used, and requests are answered."""

    @pytest.fixture(autouse=True)
    def other_version(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gateway.http.connections.connection.PROVEN", frozenset({"0.1"}))

    async def respond(self, request: Request) -> Response:
        return Response(Head(), await request.content.read())

    async def test_every_request_of_a_pipeline_is_answered(self, transport: Mock) -> None:
        connection = a_connection(self.respond, transport)

        connection.data_received(_SMALL_GET * 100)
        await iterations(1000)
        connection.connection_lost(None)

        assert [sent[:12] for sent in written(transport)] == [b"HTTP/1.1 200"] * 100

    async def test_a_body_is_read_in_any_pieces(self, transport: Mock) -> None:
        connection = a_connection(self.respond, transport)

        for piece in (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
            b" " * 60_000,
            b" " * 40_000,
        ):
            connection.data_received(piece)
            await iterations(5)
        connection.connection_lost(None)

        head, body = written(transport)
        assert b"\r\nContent-Length: 100000\r\n" in head
        assert body == b" " * 100_000

    async def test_an_endless_head_is_refused_at_its_deadline(self, transport: Mock) -> None:
        connection = a_connection(self.respond, transport, head_timeout_s=0)

        connection.data_received(b"GET / HTTP/1.1\r\n")
        await iterations(5)

        [sent] = written(transport)
        assert sent.startswith(b"HTTP/1.1 408 ")
        assert transport.close.called

    async def test_a_malformed_request_is_answered(self, transport: Mock) -> None:
        connection = a_connection(self.respond, transport)

        connection.data_received(b"no HTTP\r\n\r\n")
        await iterations(10)

        [sent] = written(transport)
        assert b" 400 " in sent
        assert transport.close.called
