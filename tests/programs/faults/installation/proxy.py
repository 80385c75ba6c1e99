"""A fault-injecting TCP proxy: cuts connections, drops packets, delays, or loses single answers."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_CHUNK: Final = 65_536
# asyncpg sends Bind, Execute and Sync of a prepared statement in one write.
_BIND: Final = b"B"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """A fault-injecting TCP proxy; its faults apply to every connection, old and new."""

    def __init__(self, connect: Callable[[], Awaitable[Streams]]) -> None:
        self._connect = connect
        self._writers: set[asyncio.StreamWriter] = set()
        self._passes = asyncio.Event()
        self._passes.set()
        self.port = 0
        self.is_refusing = False
        self.delay_s = 0.0
        self.answers_pass = True
        self.lose_answers = 0
        self.swallow_statements = 0
        self.lost = 0
        self.ended_by_server = 0

    def cut(self) -> None:
        """Reset every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    def lead_to(self, connect: Callable[[], Awaitable[Streams]]) -> None:
        """Lead new connections to another server, and reset those that are open."""
        self._connect = connect
        self.cut()

    def black_hole(self) -> None:
        """Keep every connection, accept new ones, and forward nothing."""
        self._passes.clear()

    def heal(self) -> None:
        """End every fault. Bytes that a black hole held back are forwarded: TCP would resend them."""
        self.is_refusing, self.delay_s, self.answers_pass = False, 0.0, True
        self.lose_answers = self.swallow_statements = 0
        self._passes.set()

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        ends = {writer}
        self._writers.add(writer)
        try:
            if self.is_refusing:
                return
            await self._passes.wait()
            server_reader, server_writer = await self._connect()
            ends.add(server_writer)
            self._writers.add(server_writer)
            connection = _ProxiedConnection()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._up(reader, server_writer, connection))
                tasks.create_task(self._down(server_reader, writer, connection))
        except (OSError, ExceptionGroup, asyncio.IncompleteReadError):
            pass
        finally:
            for end in ends:
                end.transport.abort()
                self._writers.discard(end)

    async def _up(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _ProxiedConnection
    ) -> None:
        while chunk := await reader.read(_CHUNK):
            await self._delay()
            if chunk.startswith(_BIND):
                if self.swallow_statements:
                    self.swallow_statements -= 1
                    self.lost += 1
                    raise ConnectionResetError
                if self.lose_answers:
                    self.lose_answers -= 1
                    connection.loses_answer = True
            writer.write(chunk)
            await writer.drain()
        raise ConnectionResetError  # ends the other direction too

    async def _down(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: _ProxiedConnection
    ) -> None:
        while chunk := await _received(reader):
            await self._delay()
            if connection.loses_answer:
                self.lost += 1
                raise ConnectionResetError
            if self.answers_pass:
                writer.write(chunk)
                await writer.drain()
        self.ended_by_server += 1
        raise ConnectionResetError

    async def _delay(self) -> None:
        await self._passes.wait()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)


async def _received(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(_CHUNK)
    except ConnectionError:
        return b""


class _ProxiedConnection:
    loses_answer = False


@asynccontextmanager
async def open_proxy(connect: Callable[[], Awaitable[Streams]]) -> AsyncIterator[Proxy]:
    """Yield a proxy to the server that ``connect`` connects to."""
    proxy = Proxy(connect)
    server = await asyncio.start_server(proxy.forward, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.heal()
        proxy.cut()
        with suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), 5)
