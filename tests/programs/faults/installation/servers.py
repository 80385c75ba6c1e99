"""PostgreSQL and RabbitMQ of the suite's own, and the operations on them that faults need."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from unittest.mock import patch
from urllib.parse import parse_qs, urlsplit

import aio_pika
import aio_pika.exceptions
import asyncpg
import orjson

from isoline.embedded import postgres_server
from isoline.embedded.postgres_leftovers import pid_file_lines
from isoline.embedded.postgres_location import choose_location, command_prefix_as
from tests.support.servers.rabbitmq_server import RabbitmqServer, RabbitmqServerError, open_rabbitmq_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from aio_pika.abc import AbstractChannel, AbstractConnection

    from isoline.embedded.postgres_server import PostgresServer
    from tests.programs.faults.installation.proxy import Streams

_OPTIONS: Final = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "60",
    "log_min_duration_statement": "1000",  # what takes so long should be known when a fault fails
    "log_parameter_max_length": "40",
}
_ADMISSIONS: Final = "local all,replication isoline trust\nlocal all all scram-sha-256\n"
_DISK: Final = "700m"
_NO_ENVIRONMENT: Final = MappingProxyType[str, str]({})
_CONNECT_WITHIN_S: Final = 5.0
_POLL_S: Final = 0.5
# The last line of the pid file once connections are accepted.
_USABLE: Final = {"ready", "standby"}


class Postgres:
    """A PostgreSQL that can be stopped, killed and frozen, and comes back with its data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = AsyncExitStack()
        self._server: PostgresServer | None = None

    @property
    def url(self) -> str:
        """The URL without a proxy."""
        assert self._server is not None
        return self._server.url

    @property
    def pid(self) -> int:
        """Its first process."""
        assert self._server is not None
        return self._server.pid

    async def start(self, environment: Mapping[str, str] = _NO_ENVIRONMENT) -> None:
        """Start it, with these additions to its environment."""
        # Only once the user was changed: what root leaves in shared memory, nobody else can use.
        additions = ["env", *(f"{name}={value}" for name, value in environment.items())]
        with patch.object(
            postgres_server, "command_prefix_as", lambda account: command_prefix_as(account) + additions
        ):
            self._server = await self._stack.enter_async_context(
                postgres_server.open_postgres_server(self._folder, _OPTIONS)
            )

    async def stop(self, *, immediately: bool = False) -> None:
        """Stop it in order, or as a crash would."""
        if immediately and self._server is not None:
            with suppress(ProcessLookupError):
                os.kill(self._server.pid, signal.SIGQUIT)
            await self._server.wait()
        await self._stack.aclose()

    async def kill(self) -> None:
        """Kill its first process; the others end when they notice."""
        assert self._server is not None
        os.kill(self._server.pid, signal.SIGKILL)
        await self._server.wait()
        await self._stack.aclose()

    async def make_standby(self, folder: Path) -> Postgres:
        """Start a standby from a base backup, without which no commit is acknowledged from now on."""
        await self.back_up(folder, "--write-recovery-conf")
        standby = Postgres(folder)
        with patch.object(postgres_server, "_is_ready", _accepts_connections):
            await standby.start()
        await self.query("ALTER SYSTEM SET synchronous_standby_names = '*'")
        await self.query("SELECT pg_reload_conf()")
        while not await self.query("SELECT FROM pg_stat_replication WHERE sync_state = 'sync'"):
            await asyncio.sleep(_POLL_S)
        return standby

    async def back_up(self, folder: Path, *options: str) -> None:
        """Make a base backup, while whatever comes in goes on."""
        assert self._server is not None
        location = await choose_location(self._server.data)
        folder.parent.mkdir(mode=0o755)
        location.give_ownership(folder.parent)
        sockets = parse_qs(urlsplit(self.url).query)["host"][0]
        assert await _run(
            *command_prefix_as(location.account),
            location.binaries / "pg_basebackup",
            *("-h", sockets, "-U", "isoline", "-D", folder, "--checkpoint=fast"),
            *options,
        ), "pg_basebackup failed"

    async def restore(self, folder: Path) -> None:
        """Start with a base backup in the place of the data that it had, which are removed."""
        shutil.rmtree(self._folder)
        self._folder = folder
        await self.start()

    async def promote(self) -> None:
        """Make this standby the primary."""
        [[is_promoted]] = await self.query("SELECT pg_promote()")
        assert is_promoted

    async def connect(self) -> Streams:
        """A raw connection to the server as it runs now."""
        sockets = parse_qs(urlsplit(self.url).query)["host"][0]
        return await asyncio.open_unix_connection(f"{sockets}/.s.PGSQL.5432")

    async def until_served(self) -> list[int]:
        """The processes that serve connections, as soon as there is one."""
        while not (found := self.backends()):
            await asyncio.sleep(_POLL_S)
        return found

    def backends(self) -> list[int]:
        """The processes that serve connections."""
        return list(_children_serving(self._server.pid)) if self._server else []

    async def admit(self, role: str, password: str) -> None:
        """Let a role read and write all data with its password; the server's own user needs none."""
        assert self._server is not None
        await self.query(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
        await self.query(f"GRANT pg_read_all_data, pg_write_all_data TO {role}")
        (self._server.data / "pg_hba.conf").write_text(_ADMISSIONS)
        await self.query("SELECT pg_reload_conf()")

    async def end_sessions(self, role: str) -> None:
        """End all sessions of a role, and wait until they are gone."""
        await self.query(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = $1", role
        )

    async def query(self, sql: str, *arguments: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(
            self.url, timeout=10, server_settings={"default_transaction_read_only": "off"}
        )
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
    """A RabbitMQ of one node or several, which can be killed, frozen, emptied and short of memory."""

    def __init__(self, nodes: Sequence[RabbitmqServer], folder: Path) -> None:
        self.nodes = nodes
        self._data = folder / "rabbitmq" / "data"

    @property
    def server(self) -> RabbitmqServer:
        """The only node, or the first."""
        return self.nodes[0]

    @property
    def urls(self) -> list[str]:
        """The URL of each node, without a proxy."""
        return [node.amqp_url for node in self.nodes]

    async def connect(self) -> Streams:
        return await asyncio.open_connection("127.0.0.1", urlsplit(self.server.amqp_url).port)

    async def empty(self) -> None:
        """Kill it and start it with nothing: no queue, no message."""
        await self.server.kill()
        shutil.rmtree(self._data)
        await self.server.start()

    async def until_declared(self, queue: str) -> None:
        """Return when the queue exists: services declare it again on a node that came back without it."""
        while not await self._has(queue):
            await asyncio.sleep(_POLL_S)

    async def _has(self, queue: str) -> bool:
        with suppress(OSError, aio_pika.exceptions.AMQPError):
            async with self.channel() as channel:
                await channel.declare_queue(queue, passive=True)
                return True
        return False

    async def leader(self, queue: str) -> RabbitmqServer:
        """The node that leads a quorum queue."""
        queues = orjson.loads(await self.server.control("list_queues", "name", "leader", "--formatter=json"))
        names = {found["name"]: found["leader"] for found in queues}
        return next(node for node in self.nodes if node.name == names[queue])

    async def until_whole(self) -> None:
        """Return when every node reports that all nodes run without a partition."""
        while not await self._is_whole():
            await asyncio.sleep(_POLL_S)

    async def _is_whole(self) -> bool:
        for node in self.nodes:
            try:
                status = orjson.loads(await node.control("cluster_status", "--formatter=json"))
            except RabbitmqServerError:
                return False
            if len(status["running_nodes"]) < len(self.nodes) or status["partitions"]:
                return False
        return True

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[AbstractChannel]:
        """The URL of a node that answers, without a proxy."""
        async with await self._connection() as connection:
            yield await connection.channel()

    async def _connection(self) -> AbstractConnection:
        for url in self.urls[1:]:
            with suppress(OSError, aio_pika.exceptions.AMQPError):
                return await aio_pika.connect(url, timeout=_CONNECT_WITHIN_S)
        return await aio_pika.connect(self.urls[0], timeout=_CONNECT_WITHIN_S)


@asynccontextmanager
async def open_postgres(folder: Path) -> AsyncIterator[Postgres]:
    postgres = Postgres(folder)
    await postgres.start()
    try:
        yield postgres
    finally:
        await postgres.stop()


@asynccontextmanager
async def open_standby(primary: Postgres, folder: Path) -> AsyncIterator[Postgres]:
    standby = await primary.make_standby(folder)
    try:
        yield standby
    finally:
        await standby.stop()


@asynccontextmanager
async def open_rabbitmq(folder: Path, nodes: int) -> AsyncIterator[Rabbitmq]:
    async with open_rabbitmq_cluster(folder, nodes) as servers:
        yield Rabbitmq(servers, folder)


def _accepts_connections(data: Path, pid: int) -> bool:
    lines = pid_file_lines(data)
    return lines[:1] == [str(pid)] and not _USABLE.isdisjoint(line.strip() for line in lines[7:])


def _children_serving(postmaster: int) -> Iterator[int]:
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            stat = (process / "stat").read_text().rsplit(")", 1)[1].split()
            if int(stat[1]) == postmaster and b"_service isoline" in (process / "cmdline").read_bytes():
                yield int(process.name)


async def _run(*command: str | Path) -> bool:
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait() == 0
