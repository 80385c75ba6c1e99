"""Find and end PostgreSQL processes that a killed owner of a data folder left behind."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

from isoline.embedded.postgres_location import PostgresServerError

# Fast shutdown (rolls back, writes a checkpoint), then immediate shutdown, then kill.
STOP_STEPS = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))

_PROC = Path("/proc")  # absent outside Linux, where PostgreSQL's own checks must suffice
_POLL_S = 0.01


async def end_leftovers(data: Path) -> None:
    """End every PostgreSQL process on these data and remove its pid file."""
    for number, limit_s in STOP_STEPS:
        _signal_leftovers(data, number)
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await _until_unused(data)
                break
    else:
        raise PostgresServerError(
            f"PostgreSQL processes that can't be ended work in {data}: {_processes_in(data)}"
        )
    _remove_pid_file(data)


def _signal_leftovers(data: Path, number: signal.Signals) -> None:
    pids = _processes_in(data)
    if number is signal.SIGINT:  # means "shut down" to the postmaster only; it passes that on
        pids = [pid for pid in pids if [str(pid)] == pid_file_lines(data)[:1]]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


async def _until_unused(data: Path) -> None:
    while _processes_in(data):  # noqa: ASYNC110 - they are not our children: nothing to wait on
        await asyncio.sleep(_POLL_S)


def _processes_in(data: Path) -> list[int]:
    return [int(process.name) for process in _PROC.glob("[0-9]*") if _works_in(process, data)]


def _works_in(process: Path, data: Path) -> bool:
    try:
        # Every PostgreSQL process keeps the data folder as its working folder; a zombie has none.
        return (process / "cwd").readlink() == data and (process / "comm").read_text() == "postgres\n"
    except OSError:
        return False  # ended meanwhile, or another user's


def pid_file_lines(data: Path) -> list[str]:
    """The pid file of the server in this folder; empty if there is none."""
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _remove_pid_file(data: Path) -> None:
    # A recycled pid, or that of a zombie, would look like a live server.
    if _PROC.is_dir():
        (data / "postmaster.pid").unlink(missing_ok=True)
