from __future__ import annotations

import asyncio
import importlib.metadata
import socket
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import pytest

from isoline import health_probe
from shared.domain.errors import UnavailableError
from shared.runtime.health import HealthPart, open_health
from shared.runtime.operations_port import open_operations_port
from tests.e2e.conftest import ROOT
from tests.support.metrics import metrics_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_WITHIN_S: Final = 60.0


@asynccontextmanager
async def a_service(*, is_ready: bool = True, host: str = "127.0.0.1") -> AsyncIterator[str]:
    async def check() -> None:
        if not is_ready:
            raise UnavailableError("leaving")

    async with (
        open_health({"process": HealthPart(check=check, impact="Nothing.")}) as health,
        open_operations_port(host, 0, health=health, metrics=metrics_of(health)) as address,
    ):
        yield f"{address}/health/ready"


@asynccontextmanager
async def a_server_that_says(answer: bytes, *, then_closes: bool = True) -> AsyncIterator[str]:
    async def answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        if not then_closes:
            await reader.read()
        writer.close()

    async with await asyncio.start_server(answer_one, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/health/ready"


async def run(*command: str) -> tuple[int | None, str, str]:
    """Exit status, standard output, standard error of the interpreter with these arguments."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *command),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    async with asyncio.timeout(_WITHIN_S):
        printed, complained = await process.communicate()
    return process.returncode, printed.decode(), complained.decode()


async def imported_by(*command: str) -> set[str]:
    """The modules that the interpreter imports for this, beside those that it always does."""
    _, _, of_command = await run("-X", "importtime", *command)
    _, _, of_nothing = await run("-X", "importtime", "-c", "")
    found, always = (
        {line.rpartition("|")[2].strip() for line in times.splitlines() if line.startswith("import time:")}
        for times in (of_command, of_nothing)
    )
    return found - always


async def test_a_probe_imports_no_library_and_nothing_else_of_ours() -> None:
    async with a_service() as url:
        imported = await imported_by("-m", "isoline", "health", url)

    of_others = {name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names}
    assert of_others == {"isoline", "isoline.health_probe"}
    assert not imported & {"asyncio", "email", "http.client", "logging", "ssl", "typing"}


def test_the_installed_command_is_a_probe_or_the_command_line() -> None:
    [command] = importlib.metadata.entry_points(group="console_scripts", name="isoline")

    assert command.value == "isoline.__main__:main"


async def test_the_exit_status_of_a_probe_says_whether_the_service_is_ready() -> None:
    async with a_service() as ready, a_service(is_ready=False) as not_ready:
        of_ready = await run("-m", "isoline", "health", ready)
        of_not_ready = await run("-m", "isoline", "health", not_ready)

    assert (of_ready[0], of_not_ready[0]) == (0, 1)
    assert of_ready[1].startswith('{"status":"ready","parts":{"process":{')
    assert of_not_ready[1].startswith('{"status":"not ready","reasons":{"process":"leaving"},"parts":{')
    assert (of_ready[2], of_not_ready[2]) == ("", "")


async def test_a_service_on_ipv6_is_probed() -> None:
    async with a_service(host="::1") as url:
        is_ready, document = await asyncio.to_thread(health_probe.probe, url)

    assert is_ready
    assert document.startswith('{"status":"ready",')


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8080",
        "localhost",
        "ftp://localhost/",
        "http://",
        "http://localhost:port/",
        "http://localhost:99999/",
        "http://[::1/",
        "http://localhost/a b",
        "http://localhost/\u00e4",
    ],
)
async def test_what_is_no_url_is_said_to_be_none(url: str) -> None:
    is_ready, said = health_probe.probe(url)

    assert not is_ready
    assert said == f"expected a URL like http://127.0.0.1:8080/health/ready, found {url}"


async def test_a_port_without_a_listener_is_reported() -> None:
    with socket.socket() as bound:  # and does not listen
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]

        is_ready, said = health_probe.probe(f"http://127.0.0.1:{port}/health/ready")

    assert not is_ready
    assert said.startswith(f"no answer from 127.0.0.1:{port}: ")


async def test_a_service_that_goes_on_and_on_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_probe, "_RESPONSE_WITHIN_S", 0.2)
    async with (
        asyncio.timeout(_WITHIN_S),
        a_server_that_says(b"HTTP/1.1 200 OK\r\n\r\nand", then_closes=False) as url,
    ):
        is_ready, said = await asyncio.to_thread(health_probe.probe, url)

    assert not is_ready
    assert said.startswith("no answer from 127.0.0.1:")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", (True, "200 from ")),
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n", (False, "302 from ")),
        (b"HTTP/1.1 404 Not Found\r\n\r\nnothing", (False, "nothing")),
        (b"HTTP/1.1", (False, " from ")),
        (b"SSH-2.0-x\r\n", (False, "no HTTP from ")),
        (b"", (False, "no HTTP from ")),
    ],
)
async def test_only_success_is_ready(answer: bytes, expected: tuple[bool, str]) -> None:
    async with a_server_that_says(answer) as url:
        is_ready, said = await asyncio.to_thread(health_probe.probe, url)

    assert is_ready is expected[0]
    assert said.startswith(expected[1])
