"""What the exchanges and queues are called; subscribers rely on the exchange's name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topology:
    """The names at one broker; with a namespace before each, several Isolines share it."""

    namespace: str = ""

    @property
    def exchange(self) -> str:
        """Where every event is published, under its type."""
        return f"{self.namespace}ecg.events"

    @property
    def submitted_queue(self) -> str:
        """What the processors read."""
        return f"{self.namespace}processor.ecg-submitted"

    @property
    def dead_letter_exchange(self) -> str:
        """Where the broker sends what the processors put aside."""
        return f"{self.namespace}ecg.dead-letters"

    @property
    def dead_letter_queue(self) -> str:
        """What waits for an operator."""
        return f"{self.namespace}processor.ecg-submitted.dead"
