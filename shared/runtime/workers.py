"""Several processes of one service under a parent, which to whoever started it are one process.

The parent runs its own command again for each worker, in an environment that says which one it is. A worker
ends with its parent, whatever ends that. When a worker ends unasked, the parent has the others leave and ends
too: an orchestrator sees that and starts all anew, while it would not see a parent that goes on with fewer.
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


async def run_workers(count: int, told_to_leave: asyncio.Event) -> None:
    """Run this command ``count`` times until told to leave, or until one ends; all have left then.

    Raises:
        ConfigurationError: A worker found a setting wrong, and has said which.
        ChildProcessError: A worker ended unasked, or did not leave in order.
    """
    workers = [await _start(number) for number in range(1, count + 1)]
    ends = [asyncio.create_task(worker.wait()) for worker in workers]
    telling = asyncio.create_task(told_to_leave.wait())
    await asyncio.wait([telling, *ends], return_when=asyncio.FIRST_COMPLETED)
    telling.cancel()
    ended_unasked = not told_to_leave.is_set()
    for number, worker in enumerate(workers, start=1):
        if ended_unasked and worker.returncode is not None:
            _log.error("a worker ended; the others leave too", worker=number, status=worker.returncode)
        with suppress(ProcessLookupError):
            worker.terminate()
    _judge(await asyncio.gather(*ends), ended_unasked=ended_unasked)


async def _start(number: int) -> Process:
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        *sys.orig_argv[1:],
        env=os.environ | Worker(number, parent=os.getpid()).environment(),
        start_new_session=True,  # a terminal's Ctrl-C is for the parent, which tells the workers
    )
    _log.info("a worker begins", worker=number, pid=worker.pid)
    return worker


def _judge(statuses: Sequence[int], *, ended_unasked: bool) -> None:
    if EXIT_CONFIGURATION in statuses:
        raise ConfigurationError("no worker can run with these settings")
    # SIGTERM kills one that has not begun yet; one that has begun leaves with 0.
    if ended_unasked or not {0, -signal.SIGTERM}.issuperset(statuses):
        raise ChildProcessError(f"the workers ended with {', '.join(map(str, statuses))}")


@asynccontextmanager
async def hold_port(host: str, port: int) -> AsyncIterator[None]:
    """Inside, the port is for the workers of this process alone.

    With SO_REUSEPORT the kernel would let a second Isoline of the same user in, and share connections out to
    both. So the port is tried without it. Workers take a second or two until they listen: meanwhile a name
    among the kernel's abstract sockets, which goes with this process, keeps another parent from trying.

    Raises:
        ConfigurationError: It is taken, or none that several processes could share.
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
