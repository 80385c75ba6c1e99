"""A private PgBouncer in transaction mode, in front of a PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import shutil
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.servers.listeners import listens
from tests.support.servers.services import free_port

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Mapping

_READY_WITHIN_S: Final = 10.0
_POLL_S: Final = 0.02
# Fewer sessions than the services have connections, so that each session serves several of them in turn.
_SESSIONS: Final = 3

_CONFIGURATION: Final = """
[databases]
* = {server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
{settings}
"""


class PgbouncerServer:
    """A PgBouncer that a test may kill and start again on its port.

    Args:
        folder: For its configuration and its log; every user may enter it.
        server_url: Of PostgreSQL; who connects to PgBouncer gets a session of this URL's user.
        settings: Of its configuration.
    """

    def __init__(self, folder: Path, server_url: str, settings: Mapping[str, object]) -> None:
        self._folder = folder
        self._server_url = server_url
        self._settings = {"default_pool_size": _SESSIONS, "server_login_retry": 1, **settings}
        self._process: Process | None = None
        self.port: Final = free_port()

    @property
    def url(self) -> str:
        """The URL of the same database through PgBouncer."""
        parts = urlsplit(self._server_url)
        return f"postgresql://{parts.username}@127.0.0.1:{self.port}{parts.path}?sslmode=disable"

    async def start(self) -> None:
        """Start it."""
        program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program, "pgbouncer is missing: scripts/install-pgbouncer"
        configuration = self._folder / "pgbouncer.ini"
        configuration.write_text(
            _CONFIGURATION.format(
                server=_server(self._server_url),
                port=self.port,
                settings="\n".join(f"{name} = {value}" for name, value in self._settings.items()),
            )
        )
        account = ["--user", _account(self._server_url)] if os.geteuid() == 0 else []  # not as root
        with (self._folder / "pgbouncer.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                program, *account, configuration, stdout=log, stderr=log
            )
        async with asyncio.timeout(_READY_WITHIN_S):
            while not listens(self._process.pid, self.port):
                assert self._process.returncode is None, "pgbouncer ended"
                await asyncio.sleep(_POLL_S)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A raw connection to it."""
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def kill(self) -> None:
        """End it at once: it has nothing to keep."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None


@asynccontextmanager
async def open_pgbouncer(folder: Path, server_url: str, **settings: object) -> AsyncIterator[PgbouncerServer]:
    """Yield a running PgBouncer."""
    server = PgbouncerServer(folder, server_url, settings)
    try:
        await server.start()
        yield server
    finally:
        await server.kill()


def _server(url: str) -> str:
    """PostgreSQL's URL in the words of PgBouncer's configuration."""
    parts = urlsplit(url)
    words = f"host={_host(url)} port={parts.port or 5432} user={parts.username}"
    return words + (f" password='{unquote(parts.password)}'" if parts.password else "")


def _host(url: str) -> str:
    parts = urlsplit(url)
    return parts.hostname or parse_qs(parts.query)["host"][0]


def _account(url: str) -> str:
    """Who may enter the folder of PostgreSQL's socket."""
    host = Path(_host(url))
    return host.owner() if host.is_dir() else "nobody"
