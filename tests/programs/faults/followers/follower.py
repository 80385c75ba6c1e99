"""What a subscriber of events has received, whatever the way that they came."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from shared.events import EventType

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

Events = dict[str, dict[str, Any]]


class Follower:
    """A subscriber who has to hear of every ECG, and what it received.

    Attributes:
        name: How breaches name it.
        events: Each event by its id, as it came first, to whichever of those who share this.
        hears_once: Whether it handles each event once, however often that is delivered.
        exempt: Ids of ECGs that it does not have to hear of.
        deliveries: How often each event came, by its id.
        received_s: When each event came first.
        by_key: Ids of terminal events by the ECG and its generation.
        changed: Ids of events that came once more with other content, or came to another with other content.
    """

    def __init__(self, name: str, events: Events, *, hears_once: bool = False) -> None:
        self.name = name
        self.events = events
        self.hears_once = hears_once
        self.exempt: AbstractSet[str] = frozenset()
        self.deliveries: Counter[str] = Counter()
        self.received_s: dict[str, float] = {}
        self.sources: set[str] = set()
        self.by_key: dict[tuple[str, int], set[str]] = {}
        self.changed: set[str] = set()
        self.erased: set[str] = set()

    def record(self, event: dict[str, Any]) -> None:
        """Record one delivery of an event."""
        event_id, data = event["id"], event["data"]
        self.deliveries[event_id] += 1
        if self.events.setdefault(event_id, event)["data"] != data:
            self.changed.add(event_id)
        self.sources.add(event["source"])
        self.received_s.setdefault(event_id, time.monotonic())
        if event["type"] == EventType.DELETED:
            self.erased.add(data["id"])
        else:
            self.by_key.setdefault((data["id"], data["generation"]), set()).add(event_id)

    def misses(self, key: tuple[str, int]) -> bool:
        """Whether it has not heard of an ECG in this generation, and has to."""
        return key not in self.by_key and key[0] not in self.exempt

    async def refresh(self) -> None:
        """Record what has come, where nothing else does."""
