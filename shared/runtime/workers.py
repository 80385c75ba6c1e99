"""Worker processes of one service under a parent process; an orchestrator sees the parent only.

The parent runs its own command once more for each worker, with the worker's number in the environment. A
worker ends with its parent, even one that is killed. When a worker ends unasked, the parent stops the others
and ends too: an orchestrator then restarts the service, but would not notice a parent with fewer workers.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from shared.domain.errors import ConfigurationError
from shared.observability.logs import Logger
from shared.runtime.process import EXIT_CONFIGURATION, Worker

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Sequence

WorkersOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--workers", metavar="N", help="How many processes, 1 to 64; else as many as ISOLINE_WORKERS says."
    ),
]

_log = Logger(__name__)


async def run_workers(count: int, stop_requested: asyncio.Event) -> None:
    """Run this command ``count`` times until a stop is requested or one of them ends; then all have ended.

    Raises:
        ConfigurationError: A worker found a setting wrong, and printed which.
        ChildProcessError: A worker ended unasked, or with another status than 0 after the stop request.
    """
    workers = [await _start(number) for number in range(1, count + 1)]
    ends = [asyncio.create_task(worker.wait()) for worker in workers]
    stopping = asyncio.create_task(stop_requested.wait())
    await asyncio.wait([stopping, *ends], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    ended_unasked = not stop_requested.is_set()
    for number, worker in enumerate(workers, start=1):
        if ended_unasked and worker.returncode is not None:
            _log.error("a worker ended; the others are stopped", worker=number, status=worker.returncode)
        with suppress(ProcessLookupError):
            worker.terminate()
    _check_statuses(await asyncio.gather(*ends), ended_unasked=ended_unasked)


async def _start(number: int) -> Process:
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        *sys.orig_argv[1:],
        env=os.environ | Worker(number, parent=os.getpid()).environment(),
        start_new_session=True,  # a terminal's Ctrl-C signals the parent alone, which signals the workers
    )
    _log.info("a worker begins", worker=number, pid=worker.pid)
    return worker


def _check_statuses(statuses: Sequence[int], *, ended_unasked: bool) -> None:
    if EXIT_CONFIGURATION in statuses:
        raise ConfigurationError("no worker can run with these settings")
    # SIGTERM kills a worker that has not installed its handler yet; after that it ends with 0.
    if ended_unasked or not {0, -signal.SIGTERM}.issuperset(statuses):
        raise ChildProcessError(f"the workers ended with {', '.join(map(str, statuses))}")


@asynccontextmanager
async def hold_port(host: str, port: int) -> AsyncIterator[None]:
    """Reserve the port for the workers of this process.

    With SO_REUSEPORT the kernel would let a second Isoline of the same user listen too, and share connections
    out to both. So the port is first bound without it. Workers need a second or two until they listen: until
    then an abstract socket, which the kernel removes with this process, keeps another parent away.

    Raises:
        ConfigurationError: The port is taken, or 0, which several processes can't share.
    """
    if port == 0:
        raise ConfigurationError("ISOLINE_PORT: several workers need one port to share, not 0")
    with socket.socket(socket.AF_UNIX) as claim:
        try:
            claim.bind(f"\0isoline {host}:{port}")
            listener = await asyncio.get_running_loop().create_server(
                asyncio.Protocol, host, port, start_serving=False
            )
        except OSError as error:
            detail = f"can't listen on {host}:{port}: {error.strerror}"
            raise ConfigurationError(f"ISOLINE_HOST, ISOLINE_PORT: {detail}") from None
        listener.close()
        await listener.wait_closed()
        yield
