"""The gateway's HTTP server: serves one handler on one port while a context is open."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, cast

from aiohttp import web

from gateway.http.connections.connection import Connection, WriteBatch, make_server
from gateway.http.connections.connection_limit import ConnectionLimit, raise_file_limit_for
from shared.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.http.cors import CorsPolicy
    from gateway.http.request import Handler

_SHUTDOWN_TIMEOUT_S: Final = 20.0


@asynccontextmanager
async def open_server(
    handler: Handler,
    host: str,
    port: int,
    *,
    head_timeout_s: float,
    max_connections: int,
    cors: CorsPolicy | None = None,
    shares_port: bool = False,
) -> AsyncIterator[str]:
    """Serve a handler for as long as the context is open; yields the address.

    A new connection beyond ``max_connections``, or beyond the files that the process may open, evicts the one
    that has been idle for longest.

    With ``cors`` every response to a complete head has its headers.

    With ``shares_port`` (``SO_REUSEPORT``) other processes of this user may listen on the port too: the
    kernel distributes connections among them.

    Raises:
        ConfigurationError: The port is taken.
    """
    runner = web.ServerRunner(make_server(handler, cors=cors), shutdown_timeout=_SHUTDOWN_TIMEOUT_S)
    await runner.setup()
    try:
        limit = ConnectionLimit(raise_file_limit_for(max_connections))
        listening = _open_listener(
            runner, host, port, limit=limit, head_timeout_s=head_timeout_s, shares_port=shares_port
        )
        async with listening as listener:
            shown = f"[{host}]" if ":" in host else host
            yield f"http://{shown}:{listener.sockets[0].getsockname()[1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def _open_listener(
    runner: web.ServerRunner,
    host: str,
    port: int,
    *,
    limit: ConnectionLimit,
    head_timeout_s: float,
    shares_port: bool,
) -> AsyncIterator[asyncio.Server]:
    loop = asyncio.get_running_loop()
    server = cast("web.Server", runner.server)  # `setup` has made it

    write_batch = WriteBatch(loop)

    def connect() -> Connection:
        return Connection(
            server, loop=loop, write_batch=write_batch, limit=limit, head_timeout_s=head_timeout_s
        )

    try:
        listener = await loop.create_server(connect, host, port, backlog=1024, reuse_port=shares_port)
    except OSError as error:
        detail = f"can't listen on {host}:{port}: {error.strerror}"
        raise ConfigurationError(f"ISOLINE_HOST, ISOLINE_PORT: {detail}") from None
    try:
        yield listener
    finally:
        listener.close()
