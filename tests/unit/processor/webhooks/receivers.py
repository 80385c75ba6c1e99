"""Receivers of webhooks that answer as a test says, byte by byte, on loopback addresses."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable

    Answer: TypeAlias = "bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]"

OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Request:
    """A request as it came; names of headers in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """What a receiver has heard.

    Attributes:
        num_connections: Also of those without a request.
    """

    host: str
    port: int = 0
    num_connections: int = 0
    requests: list[Request] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/hook?a=b"


@asynccontextmanager
async def open_receiver(
    *answers: Answer,
    host: str = "127.0.0.2",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[Receiver]:
    """Yield a receiver that answers its requests in this order, the last answer again and again.

    An answer that is a function ends the connection.
    """
    receiver = Receiver(host)
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        receiver.num_connections += 1
        if task := asyncio.current_task():
            tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    receiver.requests.append(await _read_request(reader))
                    answer = answers[min(len(receiver.requests), len(answers)) - 1]
                    if not isinstance(answer, bytes):
                        await answer(writer)
                        break
                    writer.write(answer)
                    await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, host, port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def answer(status: int, *headers: str) -> bytes:
    """An answer without a body."""
    lines = [f"HTTP/1.1 {status} Reason", "Content-Length: 0", *headers, "", ""]
    return "\r\n".join(lines).encode()


async def hang(writer: asyncio.StreamWriter) -> None:
    """Answer nothing until the sender has gone."""
    del writer
    await asyncio.Event().wait()


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in lines)}
    return Request(line, headers, await reader.readexactly(int(headers["content-length"])))
