"""Names of the exchanges and queues; subscribers rely on the exchange's name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topology:
    """The names at one broker, each with a prefix, so that several installations can share the broker."""

    namespace: str = ""

    @property
    def exchange(self) -> str:
        """Every event is published here, with its type as the routing key."""
        return f"{self.namespace}ecg.events"

    @property
    def submitted_queue(self) -> str:
        """The processors consume it."""
        return f"{self.namespace}processor.ecg-submitted"

    @property
    def dead_letter_exchange(self) -> str:
        """The broker publishes dead letters of the submitted queue here."""
        return f"{self.namespace}ecg.dead-letters"

    @property
    def dead_letter_queue(self) -> str:
        """Dead letters, until an operator settles them."""
        return f"{self.namespace}processor.ecg-submitted.dead"
