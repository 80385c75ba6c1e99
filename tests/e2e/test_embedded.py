"""The embedded mode by its commands: ``isoline up``, ``status``, ``down``."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aio_pika
import aiohttp
import orjson
import pytest

from tests.e2e.conftest import ROOT
from tests.e2e.load import known_findings, real_ecgs, submit_all
from tests.support.golden import PTB_XL_06004
from tests.support.polling import until
from tests.support.servers.folders import server_folder
from tests.support.servers.rabbitmq_server import open_rabbitmq_server
from tests.support.servers.services import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_COMMAND_WITHIN_S: Final = 90.0
_QUEUE: Final = "sub.dev"
_CAN_NOT_START: Final = """
import sys, tempfile
if sys.orig_argv[-1] == "embedded":
    tempfile.mkdtemp = None
"""


class Embedded:
    """The command line over a folder and a port of its own."""

    def __init__(self, var: Path) -> None:
        self.var = var
        self.host = "127.0.0.1"
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.settings: dict[str, str] = {}

    async def isoline(self, *arguments: str, stdin: bytes = b"") -> tuple[int, str]:
        """Run ``isoline ARGUMENTS``; its exit status and all that it printed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "isoline", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=ROOT,
            env=self._environment(),
        )
        async with asyncio.timeout(_COMMAND_WITHIN_S):
            printed, _ = await process.communicate(stdin)
        assert process.returncode is not None
        return process.returncode, printed.decode()

    def pid(self) -> int:
        """The running process."""
        pid: int = orjson.loads((self.var / "embedded.json").read_bytes())["pid"]
        return pid

    def _environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ISOLINE_")}
        own = {
            "ISOLINE_VAR": str(self.var),
            "ISOLINE_HOST": self.host,
            "ISOLINE_PORT": str(self.port),
        }
        return inherited | own | self.settings


@pytest.fixture
async def embedded() -> AsyncIterator[Embedded]:
    with server_folder() as folder:
        embedded = Embedded(folder / "var")
        yield embedded
        await embedded.isoline("down")


async def test_up_shows_the_zero_crossings_of_a_real_ecg_and_may_be_repeated(embedded: Embedded) -> None:
    first_status, first = await embedded.isoline("up")
    first_pid = embedded.pid()
    again_status, again = await embedded.isoline("up")

    assert (first_status, again_status) == (0, 0), first + again
    assert _zero_crossings(first) == _zero_crossings(again) == PTB_XL_06004
    assert embedded.pid() == first_pid
    of_others = [
        path.name for path in embedded.var.iterdir() if path.is_file() and path.stat().st_mode & 0o077
    ]
    assert of_others == []


async def test_what_was_queued_when_the_process_was_killed_completes_after_the_next_start(
    embedded: Embedded,
) -> None:
    await embedded.isoline("up")
    ecgs = real_ecgs(200)
    accepted: list[str] = []
    async with _demo_client(embedded.address) as session:
        await submit_all(session, ecgs, concurrency=32, accepted=accepted.append)
    os.kill(embedded.pid(), signal.SIGKILL)

    status, printed = await embedded.isoline("up")

    assert status == 0, printed
    async with _demo_client(embedded.address) as session:
        for ecg in ecgs:
            async with session.get(f"/ecg/{ecg.body['id']}", params={"wait": "20"}) as answer:
                found = await answer.json()
            assert found["status"] == "completed"
            assert known_findings(found) == ecg.findings


async def test_a_rabbitmq_beside_it_gets_what_became_of_its_ecgs_also_after_it_was_away(
    embedded: Embedded,
) -> None:
    with server_folder() as folder:
        async with open_rabbitmq_server(folder) as rabbitmq:
            embedded.settings = {"ISOLINE_AMQP_URL": rabbitmq.amqp_url, "ISOLINE_AMQP_NAMESPACE": "dev-"}
            await _bind(rabbitmq.amqp_url)
            await rabbitmq.stop()

            status, printed = await embedded.isoline("up")  # submits an ECG, and shows its result
            async with _demo_client(embedded.address) as session:
                away = await _health(session)
                await rabbitmq.start()
                [processed] = await _receive(rabbitmq.amqp_url)
                await until(partial(_is_broker_ok, session), within_s=_COMMAND_WITHIN_S)
                logged = await _logged(session)
                await rabbitmq.stop()
                async with session.delete("/ecg/ptbxl-06004") as answer:
                    assert answer.status == 204
                await rabbitmq.start()
                [deleted] = await _receive(rabbitmq.amqp_url)
                logged += await _logged(session)  # the first one is erased with its ECG
            queues = (await rabbitmq.control("list_queues", "name")).split()

    assert (status, _zero_crossings(printed)) == (0, PTB_XL_06004), printed
    assert away["state"] == "degraded"
    assert away["reason"].startswith("RabbitMQ: ")
    assert '"broker is away"' in (embedded.var / "isoline.log").read_text()
    assert [processed["type"], deleted["type"]] == ["ecg.processed", "ecg.deleted"]
    assert [processed, deleted] == logged
    assert _QUEUE in queues
    assert not [name for name in queues if "processor" in name]


async def _bind(amqp_url: str) -> None:
    """Bind a subscriber's queue, before Isoline has declared its exchange."""
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        exchange = await channel.declare_exchange("dev-ecg.events", aio_pika.ExchangeType.TOPIC, durable=True)
        queue = await channel.declare_queue(_QUEUE, durable=True)
        await queue.bind(exchange, "#")


async def _receive(amqp_url: str) -> list[dict[str, Any]]:
    """Wait for an event; take it, and all that came with it."""
    received: list[dict[str, Any]] = []
    async with asyncio.timeout(_COMMAND_WITHIN_S), await aio_pika.connect(amqp_url) as connection:
        queue = await (await connection.channel()).get_queue(_QUEUE)

        async def is_there() -> bool:
            while (message := await queue.get(fail=False, no_ack=True)) is not None:
                received.append(orjson.loads(message.body))
            return bool(received)

        await until(is_there, within_s=_COMMAND_WITHIN_S)
    return received


async def _logged(session: aiohttp.ClientSession) -> list[dict[str, Any]]:
    async with session.get("/events") as answer:
        documents: list[dict[str, Any]] = (await answer.json())["events"]
    return documents


async def _health(session: aiohttp.ClientSession) -> dict[str, Any]:
    """What the embedded mode says of RabbitMQ, without which it stays ready."""
    async with session.get("/health/ready") as answer:
        assert answer.status == 200
        part: dict[str, Any] = (await answer.json())["parts"]["broker"]
    return part


async def _is_broker_ok(session: aiohttp.ClientSession) -> bool:
    return bool((await _health(session))["state"] == "ok")


async def test_a_broken_url_of_a_rabbitmq_is_named_without_it(embedded: Embedded) -> None:
    embedded.settings = {"ISOLINE_AMQP_URL": "http://olga:secret@127.0.0.1/"}

    status, printed = await embedded.isoline("up")

    assert status == 2
    assert "ISOLINE_AMQP_URL: expected amqp://user:password@host:port/name" in printed
    assert "secret" not in printed


async def test_two_starts_at_once_make_one(embedded: Embedded) -> None:
    outcomes = await asyncio.gather(embedded.isoline("up"), embedded.isoline("up"))

    assert [(status, _zero_crossings(printed)) for status, printed in outcomes] == [
        (0, PTB_XL_06004),
        (0, PTB_XL_06004),
    ]


async def test_a_stop_during_the_start_stops_it(embedded: Embedded) -> None:
    starting = asyncio.create_task(embedded.isoline("up"))
    await until((embedded.var / "isoline.log").exists, within_s=_COMMAND_WITHIN_S)

    stopped = await embedded.isoline("down")
    await starting

    assert stopped == (0, "Isoline has stopped.\n")
    assert (await embedded.isoline("status"))[0] == 3


async def test_a_taken_port_is_a_clear_error(embedded: Embedded) -> None:
    with socket.create_server(("127.0.0.1", embedded.port)):
        status, printed = await embedded.isoline("up")

    assert status == 2
    assert f"can't listen on 127.0.0.1:{embedded.port}" in printed
    assert "ISOLINE_PORT" in printed
    assert "Traceback" not in printed


async def test_a_start_that_dies_says_why_in_a_sentence_and_where_the_log_is(
    embedded: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(_CAN_NOT_START)  # an unexpected failure
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    status, printed = await embedded.isoline("up")

    log = embedded.var.resolve() / "isoline.log"
    assert status == 2
    assert printed.splitlines()[0].startswith("Isoline did not start: TypeError: ")
    assert printed.splitlines()[1:] == [f"Its log is {log}."]
    assert "Traceback (most recent call last)" in log.read_text()


async def test_a_start_without_its_postgresql_says_why(embedded: Embedded) -> None:
    (embedded.var / "postgres").mkdir(parents=True)
    (embedded.var / "postgres" / "PG_VERSION").write_text("9.6\n")

    status, printed = await embedded.isoline("up")

    assert status == 2
    assert printed.startswith("Isoline did not start: PostgreSQL did not start: ")
    assert "postgresql.conf" in printed
    assert '"level"' not in printed


async def test_status_and_down_say_whether_it_runs(embedded: Embedded) -> None:
    before = await embedded.isoline("status")
    await embedded.isoline("up")
    running = await embedded.isoline("status")
    stopped = await embedded.isoline("down")
    after = await embedded.isoline("down")

    assert before == (3, "Isoline is not running.\n")
    assert running[0] == 0
    assert embedded.address in running[1]
    assert stopped == (0, "Isoline has stopped.\n")
    assert after == (0, "Isoline is not running.\n")


@pytest.mark.parametrize("content", [b"junk\n", b"", b"\xff\xfe"])
async def test_a_file_that_holds_no_key_is_named(embedded: Embedded, content: bytes) -> None:
    embedded.var.mkdir()
    (embedded.var / "token.key").write_bytes(content)

    started = await embedded.isoline("up")
    rotated = await embedded.isoline("keys", "rotate")

    for status, printed in (started, rotated):
        assert status == 2
        assert f"{embedded.var / 'token.key'} holds no key" in printed
        assert "Traceback" not in printed


async def test_with_a_password_of_its_own_the_demo_account_shows_nothing_and_it_runs(
    embedded: Embedded,
) -> None:
    await embedded.isoline("up")
    changed = [await embedded.isoline("user", "password", name) for name in ("demo", "admin")]

    again = await embedded.isoline("up")
    admin = await embedded.isoline("create-admin")
    other = await embedded.isoline("create-admin", "--name", "ada")
    none = await embedded.isoline("create-admin", "--name", "..")

    assert [status for status, _ in changed] == [0, 0]
    assert again[0] == 0
    assert f"Isoline listens at {embedded.address}\nNo ECG was submitted" in again[1]
    assert admin == (0, "The administrator admin exists, with a password of its own.\n")
    assert other[0] == 0
    assert other[1].startswith("The account ada (admin) was created. Its password")
    assert none[0] == 2


async def test_create_admin_may_come_before_the_first_start(embedded: Embedded) -> None:
    status, printed = await embedded.isoline("create-admin")
    await embedded.isoline("up")

    assert status == 0
    assert printed.endswith("The administrator admin, password admin, exists.\n")
    async with (
        aiohttp.ClientSession(embedded.address) as session,
        session.post("/token", json={"user": "admin", "password": "admin"}) as answer,
    ):
        assert answer.status == 200


async def test_opened_to_a_network_it_has_accounts_of_its_own_passwords_only(embedded: Embedded) -> None:
    embedded.host = "0.0.0.0"  # noqa: S104 - that is the case
    started = await embedded.isoline("up")
    embedded.host = "127.0.0.1"  # the running process decides, not the settings of the next command
    created, printed = await embedded.isoline("create-admin")
    [password] = re.findall(r"shown only now: (\S+)", printed)

    assert started[0] == 0, started[1]
    assert "without demo accounts" in started[1]
    assert created == 0, printed
    assert [await _login_status(embedded, demo, demo) for demo in ("admin", "demo")] == [401, 401]
    async with aiohttp.ClientSession(embedded.address) as session:
        async with session.post("/token", json={"user": "admin", "password": password}) as answer:
            session.headers["Authorization"] = f"Bearer {(await answer.json())['access_token']}"
        async with session.post("/user", json={"user": "demo", "password": "demo"}) as known_password:
            assert known_password.status == 422


async def test_demo_accounts_are_not_opened_to_other_machines(
    embedded: Embedded,
) -> None:
    await embedded.isoline("create-admin")
    embedded.host, embedded.address = "::", f"http://[::1]:{embedded.port}"
    refused = await embedded.isoline("up")
    await embedded.isoline("user", "password", "admin")
    refused_again = await embedded.isoline("up")
    for name in ("demo", "operator", "observer", "subscriber"):
        await embedded.isoline("user", "delete", name)
    status, printed = await embedded.isoline("up")

    assert [refused[0], refused_again[0], status] == [2, 2, 0], (refused, refused_again, printed)
    assert "password of admin, demo, operator, observer and subscriber: change it" in refused[1]
    assert "password of demo, operator, observer and subscriber: change it" in refused_again[1]
    assert [await _login_status(embedded, demo, demo) for demo in ("admin", "demo")] == [401, 401]


async def _login_status(embedded: Embedded, user: str, password: str) -> int:
    async with (
        aiohttp.ClientSession(embedded.address) as session,
        session.post("/token", json={"user": user, "password": password}) as answer,
    ):
        return answer.status


def _zero_crossings(printed: str) -> dict[str, int]:
    """The column of that name in the printed table, by lead."""
    names = next(_cells(line, "┃") for line in printed.splitlines() if line.startswith("┃"))
    column = names.index("zero crossings")
    rows = [_cells(line, "│") for line in printed.splitlines() if line.startswith("│")]
    return {cells[0]: int(cells[column]) for cells in rows}


def _cells(line: str, border: str) -> list[str]:
    return [cell.strip() for cell in line.strip(border).split(border)]


@asynccontextmanager
async def _demo_client(address: str) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(address) as session:
        async with session.post("/token", json={"user": "demo", "password": "demo"}) as answer:
            session.headers["Authorization"] = f"Bearer {(await answer.json())['access_token']}"
        yield session
