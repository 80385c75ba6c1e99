"""How a process of Isoline lives: it runs until told to leave, and says why when it must."""

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

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

EXIT_CONFIGURATION: Final = 2
_EXIT_DIED: Final = 1

# No setting: a parent sets it for each of its workers.
_WORKER_VARIABLE: Final = "ISOLINE_WORKER"
_PR_SET_PDEATHSIG: Final = 1

# Below the 30 s after which compose and Kubernetes kill, above the 20 s for work in hand.
LEAVE_LIMIT_S: Final = 28.0

_log = Logger(__name__)


class Worker(NamedTuple):
    """What a process is that is one of several under a parent.

    Attributes:
        number: Which of them, from 1.
        parent: The parent's process id.
    """

    number: int
    parent: int

    def environment(self) -> dict[str, str]:
        """What makes a process started with it this worker."""
        return {_WORKER_VARIABLE: f"{self.number}:{self.parent}"}


def this_worker() -> Worker | None:
    """Which worker this process is; None for a process by itself, or a parent."""
    told = os.environ.get(_WORKER_VARIABLE)
    return Worker(*map(int, told.split(":"))) if told else None


def run_until_told(main: Callable[[asyncio.Event], Awaitable[None]]) -> int:
    """Run ``main`` with an event that SIGTERM or SIGINT sets; a second signal leaves at once.

    To a worker that is for its parent to say, with which it ends: it may well be signalled twice when the
    parent was told once, by the parent and by a systemd that signals all processes of a service.

    Returns:
        The exit status: 0 when told to leave, 1 when something died, 2 when a setting is wrong.
    """
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_with_signals(main))
    except asyncio.CancelledError:
        return _exit_status(RuntimeError("cancelled, though nobody told the process to leave"))
    except Exception as error:  # noqa: BLE001 - the last frame of the process: whatever it was ends it
        return _exit_status(error)
    return 0


def _exit_status(error: Exception) -> int:
    """Say once why the process ends."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ConfigurationError):
            sys.stderr.write(f"{cause}\n")
            return EXIT_CONFIGURATION
    reason = "; ".join(f"{type(cause).__name__}: {cause}" for cause in causes)
    _log.error("the process ends because a part of it died", reason=reason, exc_info=error)
    return _EXIT_DIED


def _causes(error: Exception) -> Iterator[Exception]:
    """The error and what caused it, or those that a task group wrapped, at whatever depth."""
    if isinstance(error, ExceptionGroup):
        for member in error.exceptions:
            yield from _causes(member)
    else:
        yield error
        if isinstance(error.__cause__, Exception):  # of supervised work that ended
            yield from _causes(error.__cause__)


async def check_staying(told_to_leave: asyncio.Event) -> None:
    """A readiness check: a process that was told to leave takes no more work.

    Raises:
        UnavailableError: It is leaving.
    """
    if told_to_leave.is_set():
        raise UnavailableError("leaving", is_logged=True)


async def _with_signals(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    told_to_leave = asyncio.Event()
    worker = this_worker()
    if worker is not None:
        _end_with(worker.parent)

    def on_signal(name: str) -> None:
        if told_to_leave.is_set():
            if worker is None:
                os._exit(_EXIT_DIED)
            return
        _log.info("told to leave", signal=name)
        told_to_leave.set()
        _limit_leaving()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number.name)
    await main(told_to_leave)
    if not told_to_leave.is_set():
        raise RuntimeError("the work ended, though nobody told the process to leave")


def _end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, be it by ``kill -9``."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if os.getppid() != parent:  # it has ended already
        os._exit(_EXIT_DIED)


def _limit_leaving() -> None:
    """Whatever hangs, be it a thread that measures, the process is gone in time."""

    def leave() -> None:
        _log.error("leaving took too long and was cut short", waited_s=LEAVE_LIMIT_S)
        os._exit(_EXIT_DIED)

    limit = threading.Timer(LEAVE_LIMIT_S, leave)
    limit.daemon = True
    limit.start()
