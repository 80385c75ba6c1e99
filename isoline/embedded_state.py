"""Whether this folder's embedded Isoline runs, and where: a file that the running process keeps locked."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, Self

import orjson

from shared.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from shared.settings import EmbeddedSettings

_FILE: Final = "embedded.json"


@dataclass(frozen=True, slots=True)
class EmbeddedState:
    """A running embedded Isoline, ready for requests."""

    pid: int
    address: str
    database_url: str

    @classmethod
    def of_this_process(cls, settings: EmbeddedSettings, database_url: str) -> Self:
        """The state that other commands need to find this process."""
        return cls(os.getpid(), f"http://{settings.host}:{settings.port}", database_url)


@contextmanager
def hold_state(var: Path) -> Iterator[Callable[[EmbeddedState], None]]:
    """Be this folder's one embedded Isoline; yields the function that says it is ready.

    The kernel drops the lock with the process, however that ends, so nothing stale can be believed.

    Raises:
        ConfigurationError: Another process is it.
    """
    with (var / _FILE).open("a+b") as file:
        if not _lock(file):
            raise ConfigurationError(f"Isoline runs already in {var.resolve()}")
        file.truncate(0)

        def publish(state: EmbeddedState) -> None:
            file.write(orjson.dumps(asdict(state)))
            file.flush()

        yield publish
        file.truncate(0)


def read_state(var: Path) -> EmbeddedState | None:
    """The embedded Isoline that is ready in this folder; None when none is, or not yet."""
    try:
        with (var / _FILE).open("rb") as file:
            if _lock(file):
                return None
            content = file.read()
    except FileNotFoundError:
        return None
    return EmbeddedState(**orjson.loads(content)) if content else None


def _lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
