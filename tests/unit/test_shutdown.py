"""The shutdown of a process, seen from outside."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from asyncio.subprocess import Process

_ROOT = Path(__file__).parents[2]
_LIMIT_S = 20
_PROCESS = """
import asyncio, sys, threading, time
from shared.runtime import process
from shared.observability.logs import configure_logs

process.SHUTDOWN_LIMIT_S = 0.5

async def main(stop_requested: asyncio.Event) -> None:
    configure_logs("test", "info")
    print("ready", flush=True)
    await stop_requested.wait()
    {then}

sys.exit(process.run_until_signal(main))
"""


async def a_process(then: str) -> Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROCESS.format(then=then)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=_ROOT,
    )
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), _LIMIT_S)
    return process


async def ended(process: Process) -> tuple[int | None, list[bytes]]:
    _, errors = await asyncio.wait_for(process.communicate(), _LIMIT_S)
    return process.returncode, errors.splitlines()


async def test_the_first_signal_lets_it_finish() -> None:
    process = await a_process("print('finished')")

    process.send_signal(signal.SIGTERM)

    assert (await ended(process))[0] == 0


async def test_the_second_signal_ends_it_at_once() -> None:
    process = await a_process("process.SHUTDOWN_LIMIT_S = 60; print('stopping'); await asyncio.sleep(60)")

    process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.3)
    process.send_signal(signal.SIGTERM)

    assert (await ended(process))[0] == 1


async def test_a_thread_that_hangs_does_not_keep_it() -> None:
    process = await a_process("await asyncio.to_thread(time.sleep, 60)")

    process.send_signal(signal.SIGTERM)
    status, records = await ended(process)

    assert status == 1
    assert b"shutdown took too long and was cut short" in records[-1]


async def test_a_part_that_fails_is_logged_in_one_line() -> None:
    process = await a_process("raise ValueError('a defect')")

    process.send_signal(signal.SIGTERM)
    status, records = await ended(process)

    assert status == 1
    assert [b"a part of it failed" in record for record in records] == [False, True]


async def test_each_record_says_which_service_it_is_from_be_it_of_a_signal_or_a_thread() -> None:
    process = await a_process("await asyncio.to_thread(time.sleep, 60)")

    process.send_signal(signal.SIGTERM)
    _, records = await ended(process)

    assert [orjson.loads(record)["service"] for record in records] == ["test", "test"]
