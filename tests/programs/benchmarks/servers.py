"""PostgreSQL and RabbitMQ of the benchmark's own, alone on their data."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from isoline.embedded.postgres_server import open_postgres_server
from tests.programs.benchmarks.load.meter import cpu_s
from tests.support.servers.rabbitmq_server import open_rabbitmq_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

# Room for what a load brings between two checkpoints. Commits are durable, as by default.
OPTIONS: Final[Mapping[str, str]] = {
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "max_connections": "100",
}

_QUIET_S: Final = 0.4
_QUIET_SHARE: Final = 0.1
_QUIET_WITHIN_S: Final = 15.0


class Servers(NamedTuple):
    """The servers, and the folder that goes with them."""

    database_url: str
    amqp_url: str
    pids: Mapping[str, int]
    folder: Path

    async def until_quiet(self) -> None:
        """What a load left behind is done: a checkpoint in a baseline's window would flatter us."""
        connection = await asyncpg.connect(self.database_url, timeout=10)
        try:
            await connection.execute("CHECKPOINT", timeout=60)
        finally:
            await connection.close(timeout=5)
        for _ in range(int(_QUIET_WITHIN_S / _QUIET_S)):
            before = self._cpu_s()
            await asyncio.sleep(_QUIET_S)
            if self._cpu_s() - before < _QUIET_SHARE * _QUIET_S:
                return

    async def with_database(self, name: str) -> Servers:
        """The same servers, and a new database in the place of any of that name."""
        connection = await asyncpg.connect(self.database_url, timeout=10)
        try:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        finally:
            await connection.close(timeout=5)
        return self._replace(database_url=urlunsplit(urlsplit(self.database_url)._replace(path=f"/{name}")))

    def _cpu_s(self) -> float:
        return sum(map(cpu_s, self.pids.values()))


@asynccontextmanager
async def open_servers() -> AsyncIterator[Servers]:
    """Start both with nothing in them; all that they kept is removed at the end."""
    with tempfile.TemporaryDirectory(prefix="isoline-bench-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root, PostgreSQL runs as somebody else
        async with (
            open_postgres_server(folder / "postgres", OPTIONS) as postgres,
            open_rabbitmq_server(folder) as rabbitmq,
        ):
            assert rabbitmq._process is not None
            pids = {"postgresql": postgres.pid, "rabbitmq": rabbitmq._process.pid}
            yield Servers(postgres.url, rabbitmq.amqp_url, pids, folder)
