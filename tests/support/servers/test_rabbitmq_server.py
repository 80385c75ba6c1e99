import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel
from yarl import URL

from tests.support.polling import until
from tests.support.servers import rabbitmq_server
from tests.support.servers.rabbitmq_server import (
    RabbitmqServer,
    RabbitmqServerError,
    open_rabbitmq_server,
    rabbitmq_script,
)

_LIMIT_S = 30


@asynccontextmanager
async def a_channel(server: RabbitmqServer) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(server.amqp_url, timeout=_LIMIT_S) as connection:
        yield await connection.channel()


async def keep(server: RabbitmqServer, body: bytes) -> None:
    async with a_channel(server) as channel:
        await channel.declare_queue("kept", durable=True)
        message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, routing_key="kept", timeout=_LIMIT_S)


async def stored_body(server: RabbitmqServer) -> bytes:
    async with a_channel(server) as channel:
        queue = await channel.declare_queue("kept", passive=True)
        message = await queue.get(timeout=_LIMIT_S)
        await message.ack()
        return message.body


def processes_of(folder: Path) -> list[Path]:
    """All processes, children of children included, that were started with this home."""
    home = f"HOME={folder}/rabbitmq".encode()
    return [process for process in Path("/proc").glob("[0-9]*") if home in environment_of(process)]


def environment_of(process: Path) -> list[bytes]:
    try:
        return (process / "environ").read_bytes().split(b"\0")
    except OSError:  # ended meanwhile, or another user's
        return []


def target_of(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed meanwhile
        return ""


def addresses_listened_on(folder: Path) -> set[str]:
    """Local addresses of the listening TCP sockets that belong to the processes of this home."""
    sockets = {target_of(link) for process in processes_of(folder) for link in process.glob("fd/*")}
    table = "".join(Path(f"/proc/net/{name}").read_text() for name in ("tcp", "tcp6"))
    rows = [row.split() for row in table.splitlines()]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


async def test_a_node_is_private_keeps_its_messages_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """One life of one node, for each start costs five seconds of a core."""
    async with open_rabbitmq_server(tmp_path) as server:
        addresses = addresses_listened_on(tmp_path)
        await keep(server, b"before a stop")
        await server.stop()
        async with aio_pika.Connection(URL(server.amqp_url)) as connection:
            with pytest.raises(OSError, match="Connection refused"):
                await connection.connect(timeout=_LIMIT_S)
        await server.start()
        after_stop = await stored_body(server)
        await keep(server, b"before a kill")
        await server.kill()
        await server.start()
        after_kill = await stored_body(server)
        await server.kill()
    await until(lambda: not processes_of(tmp_path))

    assert addresses == {"0100007F", "00000000000000000000000001000000"}  # 127.0.0.1; epmd alone: ::1 too
    assert (after_stop, after_kill) == (b"before a stop", b"before a kill")
    assert list(tmp_path.iterdir()) == []


async def test_failure_to_start_reports_the_last_lines_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rabbitmq_server, "_CONFIGURATION", "no_such_setting = 1\n")

    with pytest.raises(RabbitmqServerError, match="no_such_setting"):
        async with open_rabbitmq_server(tmp_path):
            pass

    await until(lambda: not processes_of(tmp_path))


@pytest.mark.parametrize(
    ("version", "by"), [("", "scripts/install-rabbitmq as root"), ("4", "make rabbitmq4")]
)
def test_missing_installation_is_explained(
    version: str, by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABBITMQ", version)
    monkeypatch.setitem(rabbitmq_server._RELEASES, version, rabbitmq_server._Release(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(FileNotFoundError, match=by):
        rabbitmq_script()


def test_a_version_that_can_not_be_chosen_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABBITMQ", "5")

    with pytest.raises(ValueError, match="RABBITMQ=5: expected 4, or nothing"):
        rabbitmq_script()


async def test_another_process_on_its_port_is_not_taken_for_it(amqp_url: str) -> None:
    process = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await rabbitmq_server._until_ready(process, amqp_url)
    finally:
        process.kill()
        await process.wait()
