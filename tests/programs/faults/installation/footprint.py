"""I6 of the design: the resources of a process, compared with those after the first load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_GROWTH: Final = 1.5  # of resident memory
# A pool opens up to ten connections and a default executor six threads when they are first wanted.
_MORE_FILES: Final = 12
_MORE_THREADS: Final = 6


class Footprint(NamedTuple):
    """The resources of a process; sockets are files."""

    rss_kb: int
    files: int
    threads: int

    def __str__(self) -> str:
        return f"{self.rss_kb // 1024} MB, {self.files} files, {self.threads} threads"


def footprint_of(pid: int) -> Footprint:
    """The resources of a process now."""
    process = Path(f"/proc/{pid}")
    lines = (process / "status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines if ":" in line)
    files = len(list((process / "fd").iterdir()))
    return Footprint(int(status["VmRSS"].split()[0]), files, int(status["Threads"]))


def largest_by_kind(footprints: Mapping[str, Footprint]) -> dict[str, Footprint]:
    """The largest resources of each kind of service."""
    kinds = {name.split()[0] for name in footprints}
    return {
        kind: _largest([it for name, it in footprints.items() if name.startswith(kind)]) for kind in kinds
    }


def grown(plateau: Mapping[str, Footprint], footprints: Mapping[str, Footprint]) -> Iterator[str]:
    """Each service that exceeds its limits, in a sentence."""
    for name, now in footprints.items():
        before = plateau[name.split()[0]]
        limit = Footprint(
            int(_GROWTH * before.rss_kb), before.files + _MORE_FILES, before.threads + _MORE_THREADS
        )
        if any(held > most for held, most in zip(now, limit, strict=True)):
            yield f"{name} holds {now}, and {before} after the first load"


def _largest(footprints: list[Footprint]) -> Footprint:
    return Footprint(*map(max, zip(*footprints, strict=True)))
