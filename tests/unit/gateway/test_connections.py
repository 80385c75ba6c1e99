"""What a connection holds until the turn is over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from aiohttp import web

from gateway.connections import Connection, Departures

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


async def _answer(_: web.BaseRequest) -> web.Response:
    return web.Response()


@pytest.fixture
def transport() -> Mock:
    transport = Mock(asyncio.Transport)
    transport.get_extra_info.return_value = None
    return transport


@pytest.fixture
async def connection(transport: Mock) -> AsyncIterator[Connection]:
    loop = asyncio.get_running_loop()
    connection = Connection(web.Server(_answer), loop=loop, departures=Departures(loop), head_timeout_s=10)
    connection.connection_made(transport)
    yield connection
    connection.connection_lost(None)


def written(transport: Mock) -> list[bytes]:
    return [call.args[0] for call in transport.write.call_args_list]


async def test_an_answer_leaves_when_the_turn_is_over(connection: Connection, transport: Mock) -> None:
    connection.send(b"answer")
    at_once = written(transport)

    await asyncio.sleep(0)

    assert (at_once, written(transport)) == ([], [b"answer"])


@pytest.mark.parametrize("end", [Connection.close, Connection.force_close])
async def test_an_end_overtakes_no_answer(
    connection: Connection, transport: Mock, end: Callable[[Connection], None]
) -> None:
    connection.send(b"answer")

    end(connection)

    assert [name for name, *_ in transport.method_calls if name in ("write", "close")][:1] == ["write"]
    await asyncio.sleep(0)
    assert written(transport) == [b"answer"]


@pytest.mark.parametrize("end", [Connection.close, Connection.force_close])
async def test_nothing_is_held_once_a_connection_is_told_to_end(
    connection: Connection, transport: Mock, end: Callable[[Connection], None]
) -> None:
    end(connection)

    connection.send(b"answer")

    assert written(transport) == ([b"answer"] if end is Connection.close else [])


async def test_what_is_held_for_a_client_that_goes_is_let_go(connection: Connection, transport: Mock) -> None:
    connection.send(b"answer")

    connection.transport = None
    await asyncio.sleep(0)

    assert written(transport) == []
