"""Isoline's services as real processes, ready when yielded and stopped afterwards."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import ExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import aiohttp

from tests.support.servers.listeners import listens

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

_READY_WITHIN_S: Final = 30.0
_STOP_WITHIN_S: Final = 30.0
_POLL_S: Final = 0.05


def free_port(count: int = 1) -> int:
    """The first of so many consecutive ports without a listener a moment ago."""
    while True:
        with ExitStack() as bound, suppress(OSError, OverflowError):
            first = _bind(bound, 0)
            for port in range(first + 1, first + count):
                _bind(bound, port)
            return first


def _bind(bound: ExitStack, port: int) -> int:
    listener = bound.enter_context(socket.socket())
    listener.bind(("127.0.0.1", port))
    bound_to: int = listener.getsockname()[1]
    return bound_to


@asynccontextmanager
async def open_service(
    arguments: Sequence[str], *, address: str, environment: Mapping[str, str], log: Path
) -> AsyncIterator[Process]:
    """Run ``python ARGUMENTS``; yield the process when it is ready at ``address``."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdout=output, stderr=output, env=os.environ | dict(environment)
        )
    try:
        await _until_ready(process, address, log)
        yield process
    finally:
        await stop(process)


async def stop(process: Process) -> int:
    """Send SIGTERM and wait; the exit status."""
    if process.returncode is None:
        process.terminate()
    async with asyncio.timeout(_STOP_WITHIN_S):
        return await process.wait()


async def _until_ready(process: Process, address: str, log: Path) -> None:
    port = urlsplit(address).port
    assert port
    async with asyncio.timeout(_READY_WITHIN_S), aiohttp.ClientSession(address) as session:
        while not (await _is_ready(session) and listens(process.pid, port)):
            if process.returncode is not None:
                raise AssertionError(f"exit status {process.returncode}:\n{_last_words(log)}")
            await asyncio.sleep(_POLL_S)


def _last_words(log: Path) -> str:
    return log.read_text()[-2000:]


async def _is_ready(session: aiohttp.ClientSession) -> bool:
    try:
        async with session.get("/health/ready") as answer:
            return answer.ok
    except aiohttp.ClientConnectionError:
        return False
