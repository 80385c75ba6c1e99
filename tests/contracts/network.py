"""A way to the broker that can fail."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Network:
    """A way to the broker that can fail."""

    def __init__(self, server: asyncio.Server, amqp_url: str) -> None:
        port = server.sockets[0].getsockname()[1]
        self.url = str(URL(amqp_url).with_host("127.0.0.1").with_port(port))
        self.passes = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []

    def heal(self) -> None:
        self.passes.set()

    def freeze(self) -> None:
        """Keep every connection and let nothing through."""
        self.passes.clear()

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self.writers:
            writer.transport.abort()

    async def forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        try:
            while chunk := await reader.read(65_536):
                await self.passes.wait()
                writer.write(chunk)
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def open_network(amqp_url: str) -> AsyncIterator[Network]:
    broker = URL(amqp_url)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_broker, to_broker = await asyncio.open_connection(broker.host, broker.port)
        await asyncio.gather(network.forward(reader, to_broker), network.forward(from_broker, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    network = Network(server, amqp_url)
    network.heal()
    try:
        yield network
    finally:
        network.heal()
        network.cut()
        server.close()
        await server.wait_closed()
