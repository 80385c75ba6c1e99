"""What processes take, as the kernel counts it: CPU time and memory, each with all of its children."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_SAMPLE_EVERY_S: Final = 1.0  # the kernel looks at every page for it: 1 % of a core at five times as often
# Fields of /proc/PID/stat behind the name: utime, stime, and those of children that have ended.
_TIMES: Final = slice(11, 15)


@dataclass
class ResourceUse:
    """What each process took while it was watched."""

    cpu_s: dict[str, float] = field(default_factory=dict)
    peak_pss_mb: dict[str, float] = field(default_factory=dict)


@asynccontextmanager
async def measure_resources(
    processes: Mapping[str, int], *, every_s: float = _SAMPLE_EVERY_S
) -> AsyncIterator[ResourceUse]:
    """Watch processes, given by name; CPU time is there when the context has closed."""
    used = ResourceUse(peak_pss_mb=dict.fromkeys(processes, 0.0))
    before = {name: cpu_s(pid) for name, pid in processes.items()}
    sampling = asyncio.create_task(_sample(processes, used, every_s))
    try:
        yield used
    finally:
        sampling.cancel()
        used.cpu_s = {name: cpu_s(pid) - before[name] for name, pid in processes.items()}


def cpu_s(pid: int) -> float:
    """Seconds of CPU that the process and its children have used, those that have ended included."""
    return sum(map(_ticks, _family(pid))) / _TICKS_PER_S


def pss_mb(pid: int) -> float:
    """Memory of the process and its children; what several share is counted once."""
    return sum(map(_pss_kb, _family(pid))) / 1024


async def _sample(processes: Mapping[str, int], used: ResourceUse, every_s: float) -> None:
    watched = [name for name in processes if name in {"gateway", "processor"}]
    while True:
        for name in watched:
            used.peak_pss_mb[name] = max(used.peak_pss_mb[name], pss_mb(processes[name]))
        await asyncio.sleep(every_s)


def _family(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in children.read_text().split():
                yield from _family(int(child))


def _ticks(pid: int) -> int:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[_TIMES]))
    return 0


def _pss_kb(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
