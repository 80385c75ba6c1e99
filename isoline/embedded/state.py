"""The state of this folder's embedded Isoline, in a file that the running process keeps locked."""

from __future__ import annotations

import fcntl
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import orjson

from isoline.embedded.private_files import isoline_var_errors, open_existing, open_private
from shared.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

_FILE: Final = "embedded.json"
_LOCK_WITHIN_S: Final = 1.0
_POLL_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class EmbeddedState:
    """A running embedded Isoline, ready for requests.

    Attributes:
        pid: Of its process.
        address: The gateway's URL.
        is_local: Whether only this machine can reach it, so that it may have the demo accounts.
    """

    pid: int
    address: str
    database_url: str
    is_local: bool = True


@contextmanager
def hold_state(var: Path) -> Iterator[Callable[[EmbeddedState], None]]:
    """Lock this folder's state; yields a function that writes the state of this process once it is ready.

    The kernel drops the lock with the process, so that a stale state is never believed.

    Raises:
        ConfigurationError: Another process has the lock, or the folder can't be used.
    """
    with open_private(var / _FILE) as file:
        if not _lock_soon(file):
            raise ConfigurationError(f"Isoline runs already in {var.resolve()}")
        file.truncate(0)

        def write(state: EmbeddedState) -> None:
            with isoline_var_errors(var):
                file.write(orjson.dumps(asdict(state)))
                file.flush()

        yield write
        file.truncate(0)


def read_state(var: Path) -> EmbeddedState | None:
    """The embedded Isoline that is ready in this folder; None if there is none.

    Raises:
        ConfigurationError: The folder can't be used, for instance because it is another user's.
    """
    file = open_existing(var / _FILE)
    if file is None:
        return None
    with file:
        if _lock(file):
            return None
        content = file.read()
    return EmbeddedState(**orjson.loads(content)) if content else None


def _lock_soon(file: BinaryIO) -> bool:
    """Lock the file; `read_state` in another process may hold the lock for a moment."""
    deadline = time.monotonic() + _LOCK_WITHIN_S
    while not (is_locked := _lock(file)) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return is_locked


def _lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
