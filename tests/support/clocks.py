"""A clock that a test turns."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The monotonic clock of the process, which stands at ``now_s`` until the test sets that.

    Not for tests that wait: an event loop goes by this clock.
    """
    clock = SimpleNamespace(now_s=100.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now_s)
    return clock
