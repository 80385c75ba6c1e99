"""Messages on their way to the broker, by delivery tag, and what it says of them."""

from __future__ import annotations

import asyncio
import time
from enum import Enum, auto
from itertools import takewhile
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.events import Event

# What may be on its way on one connection, timed out or not: so much memory it may take.
MAX_MESSAGES: Final = 1_024
MAX_BYTES: Final = 4 * 2**20


class Fate(Enum):
    """What became of a message."""

    UNKNOWN = auto()
    TAKEN = auto()
    UNROUTABLE = auto()
    REFUSED = auto()


class Tally:
    """What becomes of the events of one call, in their order."""

    def __init__(self, count: int) -> None:
        self.fates = [Fate.UNKNOWN] * count
        self.complete = asyncio.Event()
        self._open = count

    def settle(self, index: int, fate: Fate) -> None:
        """The last word on an event; what was returned before stays unroutable though it is taken."""
        if self.fates[index] is Fate.UNKNOWN:
            self.fates[index] = fate
        self._open -= 1
        if not self._open:
            self.complete.set()


class _Message(NamedTuple):
    tally: Tally
    place: int
    size: int
    sent_s: float


class Unconfirmed:
    """The messages of one channel that the broker has not confirmed yet.

    A message stays here when nobody waits for it any more: it may still be in a buffer of ours, and its
    confirmation is still to come.
    """

    def __init__(self) -> None:
        self.next_tag = 1
        self.room = asyncio.Event()
        self.room.set()
        self._messages: dict[int, _Message] = {}  # in the order of their tags
        self._bytes = 0

    def add(self, events: Sequence[Event], tally: Tally, start: int) -> None:
        """These were sent just now, in this order; they are the events from ``start`` on in their tally."""
        now_s = time.monotonic()
        for index, event in enumerate(events, start):
            self._messages[self.next_tag] = _Message(tally, index, len(event.body), now_s)
            self._bytes += len(event.body)
            self.next_tag += 1
        self._tell_room()

    def confirm(self, tag: int, fate: Fate, *, multiple: bool = False) -> None:
        """The broker's last word on a message, or on all up to it; on others it has no effect."""
        if not multiple:
            self._settle(tag, fate)
        else:
            last = tag or self.next_tag  # 0 is AMQP's word for all there are
            # Of those that wait, not of all tags: millions may have been confirmed one by one before.
            for each in list(takewhile(last.__ge__, self._messages)):
                self._settle(each, fate)
        self._tell_room()

    def give_back(self, tag: int) -> None:
        """The broker found no queue for it; that it has done with it comes separately."""
        message = self._messages.get(tag)
        if message is not None:
            message.tally.fates[message.place] = Fate.UNROUTABLE

    def waited_s(self) -> float:
        """For how long the oldest has been waiting; 0 when nothing does."""
        oldest = next(iter(self._messages.values()), None)
        return 0.0 if oldest is None else time.monotonic() - oldest.sent_s

    def _settle(self, tag: int, fate: Fate) -> None:
        message = self._messages.pop(tag, None)
        if message is not None:
            self._bytes -= message.size
            message.tally.settle(message.place, fate)

    def _tell_room(self) -> None:
        if len(self._messages) < MAX_MESSAGES and self._bytes < MAX_BYTES:
            self.room.set()
        else:
            self.room.clear()
