"""Start the embedded mode in the background and wait until it is ready, or stop it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess  # nosec B404 # starts this program itself
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import orjson

from isoline.embedded.private_files import check_disk_space, make_folder, open_private
from isoline.embedded.state import EmbeddedState, read_state
from shared.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOG_FILE: Final = "isoline.log"
_START_LOCK_FILE: Final = "turn.lock"

_START_WITHIN_S: Final = 60.0
_STOP_WITHIN_S: Final = 45.0
_POLL_S: Final = 0.02


def start(var: Path) -> EmbeddedState:
    """Start this folder's embedded Isoline unless it runs, and return once it is ready.

    Raises:
        ConfigurationError: It did not start; names the reason and the log.
    """
    with _lock_start_and_stop(var):
        return read_state(var) or _start(var)


def _start(var: Path) -> EmbeddedState:
    check_disk_space(var)  # on a full disk the log could not say why it did not start
    with open_private(var / LOG_FILE) as log:
        begin = log.tell()
        process = subprocess.Popen(  # nosec B603 # constants and this interpreter
            [sys.executable, "-m", "isoline", "embedded"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C and the end of the terminal don't stop it
        )
    return _until_ready(process, var, begin)


def stop(var: Path) -> bool:
    """Stop this folder's embedded Isoline, which finishes its work first. Whether one ran.

    Raises:
        ConfigurationError: It did not end in time.
    """
    with _lock_start_and_stop(var):
        running = read_state(var)
        if running is not None:
            _end_process(running, var)
        return running is not None


def _end_process(running: EmbeddedState, var: Path) -> None:
    os.kill(running.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_WITHIN_S
    # By its lock, not its pid: the process that started it may not have reaped it.
    while read_state(var) is not None:
        if time.monotonic() > deadline:
            raise ConfigurationError(f"process {running.pid} did not end within {_STOP_WITHIN_S:g} s")
        time.sleep(_POLL_S)


@contextmanager
def _lock_start_and_stop(var: Path) -> Iterator[None]:
    """Serialise `start` and `stop` of this folder, so that two starts make one process.

    Raises:
        ConfigurationError: The folder can't be used.
    """
    make_folder(var)
    with open_private(var / _START_LOCK_FILE) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _until_ready(process: subprocess.Popen[bytes], var: Path, log_begin: int) -> EmbeddedState:
    deadline = time.monotonic() + _START_WITHIN_S
    while time.monotonic() < deadline:
        ready = read_state(var)
        if ready is not None and ready.pid == process.pid:
            return ready
        if process.poll() is not None:
            reason = _reason_to_end(var, log_begin) or f"it ended with status {process.returncode}"
            break
        time.sleep(_POLL_S)
    else:
        reason = f"it was not ready within {_START_WITHIN_S:g} s, and was ended"
        process.terminate()
    raise ConfigurationError(f"Isoline did not start: {reason}\nIts log is {(var / LOG_FILE).resolve()}.")


def _reason_to_end(var: Path, log_begin: int) -> str:
    """The last reason that a process gave: in a log record, or in plain lines after all records."""
    with (var / LOG_FILE).open("rb") as log:
        log.seek(log_begin)
        lines = log.read().decode(errors="replace").strip().splitlines()
    plain: list[str] = []
    for line in reversed(lines):
        record = _record(line)
        if record is not None:
            return "\n".join(plain) or str(record.get("reason", record.get("message", "")))
        plain.insert(0, line)
        if line.startswith("Traceback "):
            return plain[-1]
    return "\n".join(plain)


def _record(line: str) -> dict[str, object] | None:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
