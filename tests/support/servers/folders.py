"""Folders for servers of the tests: in memory if there is enough, several times faster than a disk."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - mkdtemp
_DISK: Final = Path("/tmp")  # noqa: S108 - likewise; not TMPDIR, whose path may be too long for a socket
# PostgreSQL keeps up to 256 MB of write-ahead log and 8 MB of each database, RabbitMQ 100 MB; and two test
# processes run. Docker gives a container 64 MB.
_ENOUGH_BYTES: Final = 2 * 2**30
_PREFIX: Final = "isoline-test-"


@contextmanager
def server_folder() -> Iterator[Path]:
    """A new folder that every user may enter. It is removed afterwards, or by the next run after a kill."""
    parent = _MEMORY if has_room(_MEMORY) else _DISK
    remove_leftovers(parent)
    with tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent) as name, _locked(Path(name)):
        folder = Path(name)
        folder.chmod(0o755)  # as root, PostgreSQL runs as another user
        yield folder


def has_room(folder: Path) -> bool:
    """Whether the folder is a file system in memory with enough free space."""
    with suppress(OSError):
        mounts = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
        is_memory = any(mount[1:3] == [str(folder), "tmpfs"] for mount in mounts)
        return is_memory and os.access(folder, os.W_OK) and shutil.disk_usage(folder).free >= _ENOUGH_BYTES
    return False


def remove_leftovers(parent: Path) -> None:
    """Remove the folders of test processes that were killed: nothing else frees their memory."""
    for left_behind in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError), _locked(left_behind, fcntl.LOCK_NB):
            if any(left_behind.iterdir()):  # one that is empty may be about to be locked by its owner
                shutil.rmtree(left_behind, ignore_errors=True)


@contextmanager
def _locked(folder: Path, flags: int = 0) -> Iterator[None]:
    """Hold a lock that the kernel drops with this process."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
        yield
    finally:
        os.close(descriptor)
