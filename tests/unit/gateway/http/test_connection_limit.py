from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import pytest

from gateway.http.bodies.body_stream import stream_body
from gateway.http.connections import connection_limit
from gateway.http.connections.connection_limit import ConnectionLimit, raise_file_limit_for
from gateway.http.memory.body_memory import BodyMemoryBudget
from gateway.http.responses import Head, Response
from gateway.http.server import open_server
from shared.runtime import outages
from tests.support.logs import capture_logs

if TYPE_CHECKING:
    from gateway.http.request import Request

_ROOT: Final = Path(__file__).parents[4]
_LIMIT_S: Final = 20
_REQUEST: Final = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
_LATE: Final = b"POST /late HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n12345678"
# More than two kernels keep.
_UNREAD_BYTES: Final = 2**25


class Opened:
    """A connection whose client is so late, and that remembers whether it was evicted."""

    def __init__(self) -> None:
        self.is_evicted = False
        self.delay_s = 0.0

    def client_delay_s(self) -> float:
        return self.delay_s

    def evict(self) -> None:
        self.is_evicted = True
        self.delay_s = 0.0


def filled(limit: ConnectionLimit, count: int) -> list[Opened]:
    connections = [Opened() for _ in range(count)]
    for connection in connections:
        assert limit.add(connection)
    return connections


def evicted(connections: list[Opened]) -> list[bool]:
    return [connection.is_evicted for connection in connections]


def test_up_to_the_limit_every_connection_stays() -> None:
    limit = ConnectionLimit(3)

    connections = filled(limit, 3)

    assert evicted(connections) == [False, False, False]


def test_a_new_one_evicts_the_one_that_has_been_idle_for_longest() -> None:
    limit = ConnectionLimit(3)
    connections = filled(limit, 3)
    limit.mark_busy(connections[0])
    limit.mark_idle(connections[0])  # the last to be idle now

    filled(limit, 1)

    assert evicted(connections) == [False, True, False]


def test_one_that_is_at_work_is_never_evicted() -> None:
    limit = ConnectionLimit(2)
    connections = filled(limit, 2)
    limit.mark_busy(connections[0])
    limit.mark_busy(connections[1])

    is_added = limit.add(Opened())

    assert not is_added
    assert evicted(connections) == [False, False]


def test_without_idle_ones_it_evicts_the_one_that_has_waited_for_its_client_for_longest() -> None:
    limit = ConnectionLimit(4)
    connections = filled(limit, 4)
    for connection, delay_s in zip(connections, (0.9, 2.0, 3.0, 0.0), strict=True):
        connection.delay_s = delay_s
        limit.mark_busy(connection)

    for _ in range(2):
        [opened] = filled(limit, 1)
        limit.mark_busy(opened)
    is_third_added = limit.add(Opened())

    assert evicted(connections) == [False, True, True, False]
    assert not is_third_added


def test_one_that_has_caught_up_or_is_closed_meanwhile_is_not_evicted() -> None:
    limit = ConnectionLimit(4)
    late, caught_up, closed, latest = connections = filled(limit, 4)
    for connection, delay_s in zip(connections, (2.0, 3.0, 4.0, 5.0), strict=True):
        connection.delay_s = delay_s
        limit.mark_busy(connection)
    limit.add(new := Opened())
    limit.mark_busy(new)
    limit.remove(latest)
    caught_up.delay_s = 0.5
    limit.remove(closed)
    for opened in filled(limit, 1):
        limit.mark_busy(opened)

    is_added = limit.add(Opened())

    assert is_added
    assert evicted([late, caught_up, closed, latest]) == [True, False, False, True]


def test_a_closed_one_makes_way() -> None:
    limit = ConnectionLimit(2)
    connections = filled(limit, 2)
    limit.mark_busy(connections[1])
    limit.remove(connections[0])
    limit.remove(connections[1])

    connections += filled(limit, 2)

    assert evicted(connections) == [False] * 4


def test_what_happens_to_one_that_was_evicted_is_not_counted() -> None:
    limit = ConnectionLimit(1)
    [first] = filled(limit, 1)
    [second] = filled(limit, 1)
    limit.mark_busy(first)
    limit.mark_idle(first)
    limit.remove(first)

    filled(limit, 1)

    assert evicted([first, second]) == [True, True]


def test_it_is_logged_once_when_it_begins_and_once_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = ConnectionLimit(2)
    connections = filled(limit, 2)
    with capture_logs() as logged:
        connections += filled(limit, 50)
        for connection in connections[1:]:
            limit.remove(connection)
        monkeypatch.setattr(outages, "QUIET_S", 0.0)
        filled(limit, 1)

    assert [record["message"] for record in logged] == ["not available", "available again"]
    assert logged[0]["reason"] == "2 are open; new ones take those of idle and slow ones"


async def test_a_client_that_keeps_connections_open_takes_none_of_another_client() -> None:
    async def respond(_: Request) -> Response:
        return Response(Head())

    async with (
        asyncio.timeout(_LIMIT_S),
        AsyncExitStack() as opened,
        open_server(respond, "127.0.0.1", 0, head_timeout_s=10, max_connections=4) as address,
    ):
        port = urlsplit(address).port
        kept: list[asyncio.StreamReader] = []
        for _ in range(10):  # it asks once on each, or says nothing
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            opened.callback(writer.close)
            if len(kept) % 2:
                writer.write(_REQUEST)
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            kept.append(reader)

        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        opened.callback(writer.close)
        writer.write(_REQUEST)

        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        await kept[0].read()  # the end of the first one


@pytest.mark.parametrize("is_reading", [True, False])
async def test_requests_that_wait_for_their_client_take_none_of_another_client(
    monkeypatch: pytest.MonkeyPatch,
    is_reading: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    monkeypatch.setattr(connection_limit, "_EVICTABLE_AFTER_S", 0.0)
    monkeypatch.setattr(connection_limit, "_SEARCH_PAUSE_S", 0.0)
    budget = BodyMemoryBudget(max_bytes=2**24, max_body_bytes=2**20, read_timeout_s=_LIMIT_S)
    has_begun = asyncio.Semaphore(0)

    async def ignore(_: bytes) -> None:
        pass

    async def respond(request: Request) -> Response:
        request.use_memory_budget(budget)
        if request.path == "/":
            return Response(Head())
        has_begun.release()
        if is_reading:
            await stream_body(request, None, ignore)
        return Response(Head(), b"x" * _UNREAD_BYTES)

    async with (
        asyncio.timeout(_LIMIT_S),
        open_server(respond, "127.0.0.1", 0, head_timeout_s=10, max_connections=4) as address,
        AsyncExitStack() as opened,  # closed first: a server waits for bodies that are being received
    ):
        port = urlsplit(address).port
        kept: list[asyncio.StreamReader] = []
        for _ in range(4):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1)
            opened.callback(writer.close)
            writer.write(_LATE)
            await has_begun.acquire()
            kept.append(reader)

        while not await is_served(port or 0):  # until one of them is late
            pass


async def is_served(port: int) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(_REQUEST)
        return (await reader.readline()).startswith(b"HTTP/1.1 200")
    except ConnectionError:
        return False
    finally:
        writer.close()


@pytest.mark.parametrize(("soft", "hard", "expected"), [(200, 200, 72), (256, 1024, 768), (64, 64, 1)])
def test_files_are_left_for_everything_else(soft: int, hard: int, expected: int) -> None:
    script = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
from gateway.http.connections import connection_limit
from gateway.http.bodies.body_stream import stream_body
from gateway.http.connections.connection_limit import raise_file_limit_for
print(raise_file_limit_for(4096), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""
    printed = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script], check=True, capture_output=True, cwd=_ROOT, timeout=60
    ).stdout

    assert printed.split() == [b"%d" % expected, b"%d" % hard]


def test_no_more_are_taken_than_are_wanted() -> None:
    assert raise_file_limit_for(16) == 16
