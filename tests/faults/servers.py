"""PostgreSQL and RabbitMQ of the suite's own, with all that can be done to them."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import aio_pika
import asyncpg

from isoline.postgres_server import PostgresServer, open_postgres_server
from tests.servers import rabbitmq_server
from tests.servers.rabbitmq_server import RabbitmqServer, open_rabbitmq_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aio_pika.abc import AbstractChannel

    from tests.faults.leg import Streams

_OPTIONS: Final = {"fsync": "off", "full_page_writes": "off", "max_connections": "60"}
_DISK: Final = "700m"


class Postgres:
    """A PostgreSQL that can be stopped, killed and frozen, and comes back with its data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = AsyncExitStack()
        self._server: PostgresServer | None = None

    @property
    def url(self) -> str:
        """The way round every leg."""
        assert self._server is not None
        return self._server.url

    async def start(self) -> None:
        self._server = await self._stack.enter_async_context(open_postgres_server(self._folder, _OPTIONS))

    async def stop(self, *, immediately: bool = False) -> None:
        """Stop it in order, or as a crash would."""
        if immediately and self._server is not None:
            with suppress(ProcessLookupError):
                os.kill(self._server.pid, signal.SIGQUIT)
            await self._server.wait()
        await self._stack.aclose()

    async def connect(self) -> Streams:
        """A raw connection to the server as it runs now."""
        sockets = parse_qs(urlsplit(self.url).query)["host"][0]
        return await asyncio.open_unix_connection(f"{sockets}/.s.PGSQL.5432")

    def backends(self) -> list[int]:
        """The processes that serve connections."""
        return list(_children_serving(self._server.pid)) if self._server else []

    async def query(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.url, timeout=10)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(sql, *arguments)
            return rows
        finally:
            await connection.close(timeout=5)


class Disk:
    """A small disk below PostgreSQL's data, if this user may mount one."""

    def __init__(self, folder: Path, *, is_mounted: bool) -> None:
        self._ballast = folder / "ballast"
        self.is_mounted = is_mounted

    def fill(self) -> None:
        with suppress(OSError), self._ballast.open("wb") as file:
            while True:
                file.write(bytes(1 << 20))

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)


@asynccontextmanager
async def open_disk(folder: Path) -> AsyncIterator[Disk]:
    """Mount a small disk on the folder, where that is allowed."""
    folder.mkdir(mode=0o755)
    is_mounted = os.geteuid() == 0 and await _run(
        "mount", "-t", "tmpfs", "-o", f"size={_DISK}", "tmpfs", folder
    )
    folder.chmod(0o755)
    try:
        yield Disk(folder, is_mounted=is_mounted)
    finally:
        if is_mounted:
            await _run("umount", "--lazy", folder)


class Rabbitmq:
    """A RabbitMQ that can be killed, frozen, emptied and short of memory."""

    def __init__(self, server: RabbitmqServer, folder: Path) -> None:
        self.server = server
        self.url = server.amqp_url
        self._data = folder / "rabbitmq" / "data"

    async def connect(self) -> Streams:
        return await asyncio.open_connection("127.0.0.1", urlsplit(self.url).port)

    def send(self, number: signal.Signals) -> None:
        assert self.server._process is not None
        os.killpg(self.server._process.pid, number)

    async def empty(self) -> None:
        """Kill it and start it with nothing: no queue, no message."""
        await self.server.kill()
        shutil.rmtree(self._data)
        await self.server.start()

    async def evaluate(self, *arguments: str) -> None:
        """Run rabbitmqctl."""
        script = rabbitmq_server.rabbitmq_script().with_name("rabbitmqctl")
        process = await asyncio.create_subprocess_exec(
            script,
            *arguments,
            env=dict(self.server._environment),
            stdout=asyncio.subprocess.DEVNULL,
        )
        assert await process.wait() == 0, arguments

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[AbstractChannel]:
        """A way round every leg."""
        async with await aio_pika.connect(self.url, timeout=10) as connection:
            yield await connection.channel()


@asynccontextmanager
async def open_postgres(folder: Path) -> AsyncIterator[Postgres]:
    postgres = Postgres(folder)
    await postgres.start()
    try:
        yield postgres
    finally:
        await postgres.stop()


@asynccontextmanager
async def open_rabbitmq(folder: Path) -> AsyncIterator[Rabbitmq]:
    async with open_rabbitmq_server(folder) as server:
        yield Rabbitmq(server, folder)


def resources_of(pid: int) -> dict[str, int]:
    """What a process holds: resident memory in kB, open files, threads."""
    status: dict[str, Any] = dict(
        line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line
    )
    return {
        "rss_kb": int(status["VmRSS"].split()[0]),
        "threads": int(status["Threads"]),
        "files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
    }


def _children_serving(postmaster: int) -> Iterator[int]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            stat = (process / "stat").read_text().rsplit(")", 1)[1].split()
            if int(stat[1]) == postmaster and b"isoline isoline" in (process / "cmdline").read_bytes():
                yield int(process.name)


async def _run(*command: str | Path) -> bool:
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait() == 0


def now_s() -> float:
    return time.monotonic()
