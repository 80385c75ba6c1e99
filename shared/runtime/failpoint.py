"""Places at which a test has a process kill itself; nothing happens unless ISOLINE_FAILPOINT names them.

``ISOLINE_FAILPOINT=after-commit:3`` is the third time that ``after-commit`` is reached; several are set
apart by commas. It is no setting: no production process should know it.
"""

from __future__ import annotations

import os
import signal
from typing import Final

VARIABLE: Final = "ISOLINE_FAILPOINT"


def _planted(text: str) -> dict[str, int]:
    points = (point.partition(":") for point in text.split(",") if point)
    return {name: int(count or 1) for name, _, count in points}


_remaining: Final = _planted(os.environ.get(VARIABLE, ""))


def is_planted(name: str) -> bool:
    """Whether a test asked for this failpoint."""
    return name in _remaining


def reach(name: str) -> None:
    """Kill this process as ``kill -9`` does, if it is this time that a test asked for."""
    if name not in _remaining:
        return
    _remaining[name] -= 1
    if _remaining[name] == 0:
        kill()


def kill() -> None:
    """End this process at once, with nothing cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)
