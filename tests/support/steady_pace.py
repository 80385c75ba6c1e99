"""A pace that stays what it was said to be, however busy the machine of a test is."""

from __future__ import annotations

from processor.deliveries.pace import Pace


class SteadyPace(Pace):
    """ECGs always seem to take so long."""

    def record_measured(self, ecgs: int, seconds: float) -> None:
        """Learn nothing."""
