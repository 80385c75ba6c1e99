"""Find which process listens on a port: ours, or another that took it first."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_LISTENING: Final = "0A"


def listens(pid: int, port: int) -> bool:
    """Whether the process or its descendants listen on a port of this machine, and no other process does."""
    listeners = set(_listeners(port))
    return bool(listeners) and listeners <= set(_sockets(pid))


def _listeners(port: int) -> Iterator[str]:
    """The inodes of the sockets that listen there, over IPv4 and IPv6."""
    for table in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):  # no IPv6 here
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                _, local, _, state, *rest = line.split()
                if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                    yield rest[5]


def _sockets(pid: int) -> Iterator[str]:
    """The inodes of the sockets that a process and its descendants have open; none of one that has ended."""
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # closed meanwhile
                yield str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]")
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _sockets(int(child))
