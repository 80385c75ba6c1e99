"""A clock that a test sets."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The monotonic clock of the process, stopped at ``now_s`` until the test changes that.

    Not for tests that wait: an event loop goes by this clock.
    """
    clock = SimpleNamespace(now_s=100.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now_s)
    return clock
