from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import pytest
from aiohttp import web

from tests.programs.faults.installation.service import Service
from tests.support.servers import redis_server, services
from tests.support.servers.listeners import listens
from tests.support.servers.redis_server import RedisServer
from tests.support.servers.services import free_port, open_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_WITHIN_S: Final = 30.0
_SERVICE: Final = """
import http.server, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
# A parent whose child listens, as with workers.
_PARENT: Final = """
import subprocess, sys

subprocess.run(["setpriv", "--pdeathsig=KILL", sys.executable, "-c", *sys.argv[1:]])
"""
_LISTENER_BESIDE_OTHERS: Final = """
import socket, sys, time

with socket.socket() as listener:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind(("127.0.0.1", int(sys.argv[1])))
    listener.listen()
    print(flush=True)
    time.sleep(60)
"""


@asynccontextmanager
async def a_stranger() -> AsyncIterator[int]:
    """The port of a server that says it is ready."""

    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response()

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_a_service_is_ready_when_it_says_so_itself_or_its_child_does(tmp_path: Path) -> None:
    for before in ([], ["-c", _PARENT, _SERVICE]):
        port = free_port()
        arguments = [*before, str(port)] if before else ["-c", _SERVICE, str(port)]
        address = f"http://127.0.0.1:{port}"
        async with open_service(arguments, address=address, environment={}, log=tmp_path / "log") as process:
            assert listens(process.pid, port)


@pytest.mark.parametrize(
    ("program", "error"),
    [("import time; time.sleep(60)", TimeoutError), ("raise SystemExit(2)", AssertionError)],
)
async def test_another_process_on_its_port_is_not_taken_for_a_service(
    program: str, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "_READY_WITHIN_S", 2.0)
    async with a_stranger() as port:
        address = f"http://127.0.0.1:{port}"
        opening = open_service(["-c", program], address=address, environment={}, log=tmp_path / "log")
        with pytest.raises(error):
            await opening.__aenter__()


async def test_another_process_on_its_port_is_not_taken_for_a_service_under_faults(tmp_path: Path) -> None:
    async with a_stranger() as port:
        service = Service("asyncio", port, {}, tmp_path / "log")  # a prompt that waits and listens nowhere
        with pytest.raises(TimeoutError):
            await _run_until_ready(service)


async def _run_until_ready(service: Service) -> None:
    async with asyncio.timeout(1), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(service.keep_running())
        try:
            await service.until_ready()
        finally:
            running.cancel()
            service.end()


async def test_another_process_on_its_port_is_not_taken_for_redis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setattr(redis_server, "free_port", lambda: port)
    server, other = RedisServer(tmp_path), RedisServer(tmp_path)
    async with asyncio.timeout(_WITHIN_S):
        await server.start()
        try:
            with pytest.raises(AssertionError, match="redis-server ended"):
                await other.start()
        finally:
            await server.stop()


async def test_a_port_with_another_listener_is_not_ours_alone() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _LISTENER_BESIDE_OTHERS, str(port)), stdout=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdout
            async with asyncio.timeout(_WITHIN_S):
                await process.stdout.readline()
            alone = listens(process.pid, port)
            other.listen()
            beside_a_stranger = listens(process.pid, port)
        finally:
            process.kill()
            await process.wait()

    assert (alone, beside_a_stranger) == (True, False)
