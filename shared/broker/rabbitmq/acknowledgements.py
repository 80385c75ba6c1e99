"""How the deliveries of one channel ended, in as few words to the broker as are safe."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from pamqp import commands as spec

if TYPE_CHECKING:
    from collections.abc import Iterator


class Ending(Enum):
    """What is to become of a delivery's message."""

    ACK = auto()
    REQUEUE = auto()
    DEAD_LETTER = auto()


class Endings:
    """Deliveries by their tags: those in our hands, and those whose ending is still to be told."""

    def __init__(self) -> None:
        self._in_hand: dict[int, None] = {}  # in the order of their tags, which is that of their coming
        self._untold: list[tuple[int, Ending]] = []

    def __len__(self) -> int:
        """How many are still to be told."""
        return len(self._untold)

    @property
    def in_hand(self) -> int:
        """How many deliveries have not ended."""
        return len(self._in_hand)

    def begin(self, tag: int) -> None:
        """One more delivery is in our hands, younger than all others."""
        self._in_hand[tag] = None

    def end(self, tag: int, ending: Ending) -> None:
        """This delivery is in our hands no more."""
        del self._in_hand[tag]
        self._untold.append((tag, ending))

    def frames(self) -> Iterator[spec.Basic.Ack | spec.Basic.Reject]:
        """All that is to be told; it stays so until `forget`.

        Acknowledgements below everything in our hands are one: a quorum queue logs each by itself, and of
        200 that came at once it had lost some when the channel closed behind them.
        """
        oldest_in_hand = next(iter(self._in_hand), None)
        together = 0
        for tag, ending in self._untold:
            if ending is not Ending.ACK:
                # Not nack, which RabbitMQ 4.3 no longer counts as an attempt.
                yield spec.Basic.Reject(tag, requeue=ending is Ending.REQUEUE)
            elif oldest_in_hand is None or tag < oldest_in_hand:
                together = max(together, tag)
            else:
                yield spec.Basic.Ack(tag)
        if together:
            yield spec.Basic.Ack(together, multiple=True)  # last: what it must not touch was rejected above

    def forget(self, count: int) -> None:
        """The first so many were told."""
        del self._untold[:count]
