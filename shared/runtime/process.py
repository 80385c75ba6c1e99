"""Run a main function until SIGTERM or SIGINT, within a time limit, and choose the exit status."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

import uvloop

from shared.domain.errors import ConfigurationError, UnavailableError
from shared.observability.logs import Logger
from shared.release import RELEASE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

EXIT_CONFIGURATION: Final = 2
_EXIT_DIED: Final = 1

# No setting: a parent sets it for each of its workers.
_WORKER_VARIABLE: Final = "ISOLINE_WORKER"
_PR_SET_PDEATHSIG: Final = 1

# Below the 30 s after which compose and Kubernetes kill, above the 20 s for unfinished work.
SHUTDOWN_LIMIT_S: Final = 28.0

_log = Logger(__name__)


class Worker(NamedTuple):
    """One of several worker processes under a parent.

    Attributes:
        number: From 1.
        parent: The parent's process id.
    """

    number: int
    parent: int

    def environment(self) -> dict[str, str]:
        """Environment variables that make a new process this worker."""
        return {_WORKER_VARIABLE: f"{self.number}:{self.parent}"}


def this_worker() -> Worker | None:
    """Which worker this process is; None for a single process or a parent."""
    variable = os.environ.get(_WORKER_VARIABLE)
    return Worker(*map(int, variable.split(":"))) if variable else None


def process_name(service: str) -> str:
    """Service, worker and release of this process, as its connections are called at both servers."""
    worker = this_worker()
    return f"isoline {service}{f'/{worker.number}' if worker else ''} {RELEASE}"


def run_until_signal(main: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """Run ``main`` with an event that SIGTERM or SIGINT sets; a second signal ends the process at once.

    A worker ignores a second signal and ends when its parent ends: one stop request may signal it twice, by
    its parent and by a systemd that signals all processes of a service.

    Returns:
        The exit status: 0 after a stop request, 1 after a failure, 2 when a setting is wrong.
    """
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_with_signals(main))
    except asyncio.CancelledError:
        return _exit_status(RuntimeError("cancelled without a stop request"))
    except Exception as error:  # noqa: BLE001 - the last frame of the process: any error ends it
        return _exit_status(error)
    return 0


def _exit_status(error: Exception) -> int:
    """The exit status for an error, which is logged or printed once."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ConfigurationError):
            sys.stderr.write(f"{cause}\n")
            return EXIT_CONFIGURATION
    reason = "; ".join(f"{type(cause).__name__}: {cause}" for cause in causes)
    _log.error("the process ends because a part of it failed", reason=reason, exc_info=error)
    return _EXIT_DIED


def _causes(error: Exception) -> Iterator[Exception]:
    """The error and its causes; in place of an exception group its members, at any depth."""
    if isinstance(error, ExceptionGroup):
        for member in error.exceptions:
            yield from _causes(member)
    else:
        yield error
        if isinstance(error.__cause__, Exception):  # of a supervised task that ended
            yield from _causes(error.__cause__)


async def check_not_stopping(stop_requested: asyncio.Event) -> None:
    """A readiness check: a process that was asked to stop takes no more work.

    Raises:
        UnavailableError: A stop was requested.
    """
    if stop_requested.is_set():
        raise UnavailableError("draining: it was told to stop", is_logged=True)


async def _with_signals(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop_requested = asyncio.Event()
    worker = this_worker()
    if worker is not None:
        _end_when_parent_ends(worker.parent)

    def on_signal(name: str) -> None:
        if stop_requested.is_set():
            if worker is None:
                os._exit(_EXIT_DIED)
            return
        _log.info("stop requested", signal=name)
        stop_requested.set()
        _limit_shutdown()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number.name)
    await main(stop_requested)
    if not stop_requested.is_set():
        raise RuntimeError("the work ended without a stop request")
    _log.info("stopped")


def _end_when_parent_ends(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, be it by ``kill -9``."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:  # it has ended already
        os._exit(_EXIT_DIED)


def _limit_shutdown() -> None:
    """End the process after the time limit, even when a thread hangs."""

    def end() -> None:
        _log.error("shutdown took too long and was cut short", waited_s=SHUTDOWN_LIMIT_S)
        os._exit(_EXIT_DIED)

    limit = threading.Timer(SHUTDOWN_LIMIT_S, end)
    limit.daemon = True
    limit.start()
