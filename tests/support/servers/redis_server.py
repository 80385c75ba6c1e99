"""A private Redis that keeps nothing, ready when yielded and gone afterwards."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from tests.support.servers.listeners import listens
from tests.support.servers.services import free_port

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator
    from pathlib import Path
    from signal import Signals

_READY_WITHIN_S: Final = 10.0
_POLL_S: Final = 0.02


class RedisServer:
    """A server that a test may stop and start again on its port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: Process | None = None
        self.url: Final = f"redis://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start it, empty."""
        program = shutil.which("redis-server")
        assert program, "redis-server is missing: scripts/install-redis"
        options = f"--port {self._port} --bind 127.0.0.1 --save --appendonly no --daemonize no".split()
        self._process = await asyncio.create_subprocess_exec(
            program, *options, cwd=self._folder, stdout=asyncio.subprocess.DEVNULL
        )
        async with asyncio.timeout(_READY_WITHIN_S), Redis.from_url(self.url) as client:
            while not (await _answers(client) and listens(self._process.pid, self._port)):
                assert self._process.returncode is None, "redis-server ended"
                await asyncio.sleep(_POLL_S)

    async def flush(self) -> None:
        """Delete everything, as eviction would."""
        async with Redis.from_url(self.url) as client:
            await client.flushall()

    def send(self, number: Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    async def stop(self) -> None:
        """Stop it."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None


@asynccontextmanager
async def open_redis_server(folder: Path) -> AsyncIterator[RedisServer]:
    """Yield a running server."""
    server = RedisServer(folder)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()


async def _answers(client: Redis) -> bool:
    try:
        return bool(await client.ping())
    except RedisConnectionError:
        return False
