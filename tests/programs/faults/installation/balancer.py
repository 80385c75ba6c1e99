"""A small TCP balancer: round robin over the gateways that say they are ready."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import aiohttp

from tests.programs.faults.installation.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.programs.faults.installation.proxy import Streams

_CHECK_EVERY_S: Final = 0.25
_CHECK_WITHIN_S: Final = 1.0
_POLL_S: Final = 0.05


class Balancer:
    """Chooses the gateway for a new connection."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._turn = 0
        self._ready: set[int] = set()
        self.address = ""

    async def connect(self) -> Streams:
        """A connection to a ready gateway, or else to any."""
        self._turn = (self._turn + 1) % len(self._ports)
        candidates = [*self._ports[self._turn :], *self._ports[: self._turn]]
        for port in sorted(candidates, key=lambda port: port not in self._ready):
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                continue
        raise ConnectionRefusedError

    async def until_all_ready(self) -> None:
        """Return when new connections go to every gateway in turn."""
        while self._ready != set(self._ports):
            await asyncio.sleep(_POLL_S)

    async def watch(self) -> None:
        """Poll the readiness of each gateway, forever."""
        timeout = aiohttp.ClientTimeout(_CHECK_WITHIN_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                await asyncio.gather(*(self._check(session, port) for port in self._ports))
                await asyncio.sleep(_CHECK_EVERY_S)

    async def _check(self, session: aiohttp.ClientSession, port: int) -> None:
        try:
            async with session.get(f"http://127.0.0.1:{port}/health/ready") as answer:
                is_ready = answer.ok
        except (aiohttp.ClientError, TimeoutError):
            is_ready = False
        (self._ready.add if is_ready else self._ready.discard)(port)


@asynccontextmanager
async def open_balancer(ports: Sequence[int]) -> AsyncIterator[Balancer]:
    """Yield a balancer that listens at its ``address``."""
    balancer = Balancer(ports)
    proxy = Proxy(balancer.connect)
    server = await asyncio.start_server(proxy.forward, "127.0.0.1", 0)
    balancer.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    watching = asyncio.create_task(balancer.watch())
    try:
        yield balancer
    finally:
        watching.cancel()
        await asyncio.wait([watching])
        server.close()
        proxy.cut()
