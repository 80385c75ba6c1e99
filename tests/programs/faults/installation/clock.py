"""A fake system clock for processes, which can be changed while they run.

Debian's libfaketime is loaded into them and reads the offset from a file. Their monotonic clock is left
alone, as it is when somebody sets a host's clock.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_LIBRARY: Final = "*/faketime/libfaketimeMT.so.1"
_SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the library chose it
_TOLERANCE: Final = timedelta(minutes=10)


class Clock:
    """How far it is ahead of the host's.

    Args:
        folder: Where its file lies.
        name: The file's; each clock has its own.
    """

    def __init__(self, folder: Path, name: str = "clock") -> None:
        self._file = folder / name
        self.offset = timedelta()
        self.set(timedelta())

    def set(self, offset: timedelta) -> None:
        """Set it; its processes see the change within a second."""
        self.offset = offset
        beside = self._file.with_suffix(".new")
        beside.write_text(f"{offset.total_seconds():+.0f}\n")
        beside.replace(self._file)

    def environment(self) -> Mapping[str, str]:
        """The environment variables of a process that uses this clock.

        Raises:
            FileNotFoundError: The library is not installed.
        """
        return {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def shows(self, tolerance: timedelta = _TOLERANCE) -> Callable[[datetime], bool]:
        """Whether a time is this clock's, within the tolerance."""
        return lambda time: abs(time - datetime.now(UTC) - self.offset) < tolerance

    def remove_shared_memory(self, pid: int) -> None:
        """Remove the shared memory of a process that has ended, which the library does not."""
        for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
            (_SHARED_MEMORY / name).unlink(missing_ok=True)


def library() -> Path:
    """The path of libfaketime.

    Raises:
        FileNotFoundError: It is not installed.
    """
    for folder in (Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/local/lib")):
        if found := sorted(folder.glob(_LIBRARY)):
            return found[0]
    raise FileNotFoundError("libfaketime is not installed: run scripts/install-libfaketime as root")
