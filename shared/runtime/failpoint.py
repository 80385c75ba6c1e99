"""Failpoints: named places at which a process kills itself if ISOLINE_FAILPOINT, set by a test, names them.

``ISOLINE_FAILPOINT=after-commit:3`` kills it the third time that it reaches ``after-commit``; several are
separated by commas. It is not a setting: production does not use it.
"""

from __future__ import annotations

import os
import signal
from typing import Final

VARIABLE: Final = "ISOLINE_FAILPOINT"


def _parse(text: str) -> dict[str, int]:
    points = (point.partition(":") for point in text.split(",") if point)
    return {name: int(count or 1) for name, _, count in points}


_remaining: Final = _parse(os.environ.get(VARIABLE, ""))


def is_set(name: str) -> bool:
    """Whether a test asked for this failpoint."""
    return name in _remaining


def reach(name: str) -> None:
    """Kill this process as ``kill -9`` does, if a test asked for this failpoint and count."""
    if name not in _remaining:
        return
    _remaining[name] -= 1
    if _remaining[name] == 0:
        kill()


def kill() -> None:
    """End this process at once, without cleaning up."""
    os.kill(os.getpid(), signal.SIGKILL)
