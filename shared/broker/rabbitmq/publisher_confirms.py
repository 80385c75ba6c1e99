"""Publisher confirms: unconfirmed messages by delivery tag, and their outcomes."""

from __future__ import annotations

import asyncio
import time
from enum import Enum, auto
from itertools import takewhile
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.events import Event

# Limit of unconfirmed messages on one connection, timed out or not, because they hold memory.
MAX_MESSAGES: Final = 1_024
MAX_BYTES: Final = 4 * 2**20


class PublishOutcome(Enum):
    """How the broker answered a published message."""

    UNKNOWN = auto()
    CONFIRMED = auto()
    UNROUTABLE = auto()
    NACKED = auto()


class BatchOutcomes:
    """The outcomes of the events of one call, in their order."""

    def __init__(self, count: int) -> None:
        self.outcomes = [PublishOutcome.UNKNOWN] * count
        self.complete = asyncio.Event()
        self._open = count

    def resolve(self, index: int, outcome: PublishOutcome) -> None:
        """Set the final outcome of an event; a returned one stays unroutable though it is confirmed."""
        if self.outcomes[index] is PublishOutcome.UNKNOWN:
            self.outcomes[index] = outcome
        self._open -= 1
        if not self._open:
            self.complete.set()


class _Message(NamedTuple):
    batch: BatchOutcomes
    place: int
    size: int
    sent_s: float


class PublisherConfirms:
    """The messages of one channel that the broker has not confirmed yet.

    A message stays here after its caller timed out: it may still be in a buffer of ours, and its confirm is
    still to come.
    """

    def __init__(self) -> None:
        self.next_tag = 1
        self.has_capacity = asyncio.Event()
        self.has_capacity.set()
        self._messages: dict[int, _Message] = {}  # in the order of their tags
        self._bytes = 0

    def add(self, events: Sequence[Event], batch: BatchOutcomes, start: int) -> None:
        """Add events that were sent just now, in this order, from the batch's index ``start`` on."""
        now_s = time.monotonic()
        for index, event in enumerate(events, start):
            self._messages[self.next_tag] = _Message(batch, index, len(event.body), now_s)
            self._bytes += len(event.body)
            self.next_tag += 1
        self._update_capacity()

    def confirm(self, tag: int, outcome: PublishOutcome, *, multiple: bool = False) -> None:
        """The broker confirms a message, or all up to it; for an unknown tag nothing happens."""
        if not multiple:
            self._resolve(tag, outcome)
        else:
            last = tag or self.next_tag  # in AMQP tag 0 means all
            # Iterate the unconfirmed, not all tags: millions may have been confirmed one by one before.
            for each in list(takewhile(last.__ge__, self._messages)):
                self._resolve(each, outcome)
        self._update_capacity()

    def mark_unroutable(self, tag: int) -> None:
        """The broker returned a message as unroutable; its confirm follows separately."""
        message = self._messages.get(tag)
        if message is not None:
            message.batch.outcomes[message.place] = PublishOutcome.UNROUTABLE

    def oldest_wait_s(self) -> float:
        """For how long the oldest unconfirmed message has waited; 0 when there is none."""
        oldest = next(iter(self._messages.values()), None)
        return 0.0 if oldest is None else time.monotonic() - oldest.sent_s

    def _resolve(self, tag: int, outcome: PublishOutcome) -> None:
        message = self._messages.pop(tag, None)
        if message is not None:
            self._bytes -= message.size
            message.batch.resolve(message.place, outcome)

    def _update_capacity(self) -> None:
        if len(self._messages) < MAX_MESSAGES and self._bytes < MAX_BYTES:
            self.has_capacity.set()
        else:
            self.has_capacity.clear()
