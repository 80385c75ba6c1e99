"""Several workers under one parent, seen from outside as one process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from shared.domain.errors import ConfigurationError
from shared.runtime.workers import hold_port
from tests.support.servers.services import free_port

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Iterator

_ROOT: Final = Path(__file__).parents[2]
_LIMIT_S: Final = 20
_COUNT: Final = 2

# A worker prints that it works, and in the end that it stopped in order.
_SERVICE: Final = """
import asyncio, os, sys
from shared.domain.errors import ConfigurationError
from shared.runtime.process import run_until_signal, this_worker
from shared.observability.logs import configure_logs
from shared.runtime.workers import run_workers

def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())  # in one write: all workers share one pipe

async def main(stop_requested: asyncio.Event) -> None:
    worker = this_worker()
    configure_logs("test", "info", worker=worker.number if worker else None)
    if worker is None:
        await run_workers({count}, stop_requested)
        return
    say(worker.number, "works", os.getpid())
    {work}
    say(worker.number, "left")

sys.exit(run_until_signal(main))
"""
_WORKING: Final = "await stop_requested.wait()"
_HANGING: Final = "await stop_requested.wait(); say('hangs'); await asyncio.sleep(60)"
_SLOW_TO_STOP: Final = "await stop_requested.wait(); say('stops'); await asyncio.sleep(0.5)"


class Parent:
    """A parent as a process, and the output of its workers."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.workers: dict[str, int] = {}

    async def lines_with(self, count: int, word: str) -> list[list[str]]:
        """The lines with this word of so many workers."""
        assert self.process.stdout
        lines: list[list[str]] = []
        while len(lines) < count:
            line = (await self.process.stdout.readline()).decode().split()
            assert line, await self._records()
            if word in line:
                lines.append(line)
        return lines

    async def ended(self) -> tuple[int, list[str], list[dict[str, Any]]]:
        """Once all have ended: the exit status, the workers that stopped in order, and the records of all."""
        assert self.process.stdout
        said = (await self.process.stdout.read()).decode().splitlines()
        return (
            await self.process.wait(),
            sorted(line.split()[0] for line in said if "left" in line),
            await self._records(),
        )

    async def _records(self) -> list[dict[str, Any]]:
        assert self.process.stderr
        lines = (await self.process.stderr.read()).splitlines()
        return [json.loads(line) if line.startswith(b"{") else {"sentence": line.decode()} for line in lines]


@asynccontextmanager
async def open_parent(work: str = _WORKING, *, count_that_work: int = _COUNT) -> AsyncIterator[Parent]:
    """A parent whose two workers run this code; yielded once so many of them work."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _SERVICE.format(count=_COUNT, work=work)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=_ROOT,
    )
    parent = Parent(process)
    try:
        async with asyncio.timeout(_LIMIT_S):
            for number, _, pid in await parent.lines_with(count_that_work, "works"):
                parent.workers[number] = int(pid)
            yield parent
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_on_a_stop_request_all_workers_stop_in_order() -> None:
    async with open_parent() as parent:
        parent.process.send_signal(signal.SIGTERM)

        status, left, _ = await parent.ended()

    assert (status, left) == (0, ["1", "2"])


async def test_a_worker_that_dies_ends_the_others_in_order_and_the_parent_with_1() -> None:
    async with open_parent() as parent:
        os.kill(parent.workers["2"], signal.SIGKILL)

        status, left, records = await parent.ended()

    assert (status, left) == (1, ["1"])
    assert [record.get("worker") for record in records if record.get("status") == -9] == [2]
    assert "a part of it failed" in records[-1]["message"]


async def test_a_worker_that_ends_unasked_ends_all() -> None:
    async with open_parent() as parent:
        os.kill(parent.workers["1"], signal.SIGTERM)

        status, left, _ = await parent.ended()

    assert (status, left) == (1, ["1", "2"])


async def test_a_worker_with_a_wrong_setting_ends_all_with_2() -> None:
    work = "raise ConfigurationError('ISOLINE_X: is wrong')"
    async with open_parent(work, count_that_work=0) as parent:
        status, _, records = await parent.ended()

    assert status == 2
    assert records[-1] == {"sentence": "no worker can run with these settings"}


async def test_no_worker_outlives_a_parent_that_is_killed() -> None:
    async with open_parent() as parent:
        parent.process.kill()

        status, left, _ = await parent.ended()  # the end of their output is the end of all of them

    assert (status, left) == (-9, [])


async def test_a_second_signal_ends_the_parent_and_its_workers_at_once() -> None:
    async with open_parent(_HANGING) as parent:
        parent.process.send_signal(signal.SIGTERM)
        await parent.lines_with(_COUNT, "hangs")
        parent.process.send_signal(signal.SIGTERM)

        status, left, _ = await parent.ended()

    assert (status, left) == (1, [])


async def test_workers_that_are_signalled_beside_their_parent_still_stop_in_order() -> None:
    async with open_parent(_SLOW_TO_STOP) as parent:
        for pid in (parent.process.pid, *parent.workers.values()):  # as systemd does
            os.kill(pid, signal.SIGTERM)

        status, left, _ = await parent.ended()

    assert (status, left) == (0, ["1", "2"])


async def test_a_stop_request_before_its_workers_work_stops_it_in_order() -> None:
    async with open_parent(count_that_work=0) as parent:
        assert parent.process.stderr
        await parent.process.stderr.readline()  # the first worker begins
        parent.process.send_signal(signal.SIGTERM)

        status, _, _ = await parent.ended()

    assert status == 0


async def test_each_record_of_a_worker_says_which() -> None:
    async with open_parent() as parent:
        parent.process.send_signal(signal.SIGTERM)

        _, _, records = await parent.ended()

    workers = [record.get("worker") for record in records if record["message"] == "stop requested"]
    assert sorted(workers, key=str) == [1, 2, None]


@contextmanager
def a_listener(*, shares_port: bool) -> Iterator[int]:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shares_port)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize("shares_port", [False, True])
async def test_a_port_with_a_listener_is_refused(*, shares_port: bool) -> None:
    with a_listener(shares_port=shares_port) as port, pytest.raises(ConfigurationError) as caught:
        async with hold_port("127.0.0.1", port):
            pass

    said = str(caught.value)
    assert said.startswith(f"ISOLINE_HOST, ISOLINE_PORT: can't listen on 127.0.0.1:{port}: ")
    assert said.endswith("address already in use")


async def test_a_port_that_another_parent_holds_is_refused_before_its_workers_listen() -> None:
    port = free_port()

    async with hold_port("127.0.0.1", port):
        with pytest.raises(ConfigurationError, match="ISOLINE_PORT"):
            async with hold_port("127.0.0.1", port):
                pass


async def test_a_held_port_is_there_for_its_workers() -> None:
    address = ("127.0.0.1", free_port())

    async with hold_port(*address):
        with (
            socket.create_server(address, reuse_port=True) as one,
            socket.create_server(address, reuse_port=True) as other,
        ):
            assert one.getsockname() == other.getsockname() == address


async def test_any_free_port_is_none_to_share() -> None:
    with pytest.raises(ConfigurationError, match="not 0"):
        async with hold_port("127.0.0.1", 0):
            pass
