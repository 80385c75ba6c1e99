"""Dead letters, as operators see and end them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Decision(Enum):
    """What an operator decides about a dead letter."""

    KEEP = auto()
    REPLAY = auto()
    DROP = auto()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message in the dead-letter queue.

    Attributes:
        name: For operators; the same each time the queue is listed.
        reason: Why the broker put it here: ``rejected``, ``delivery_limit``.
    """

    name: str
    reason: str
    body: bytes


class DeadLetters(Protocol):
    """The dead-letter queue."""

    async def settle_each(self, decide: Callable[[DeadLetter], Decision]) -> list[DeadLetter]:
        """Keep, replay or drop each letter as ``decide`` says; all letters, in order.

        Raises:
            UnavailableError: Of the broker; letters that were not settled are still there.
            UnroutableError: A letter can't be replayed, because no processor has declared its queue.
        """


class DeadLetterCounter(Protocol):
    """Counts dead letters."""

    async def count(self) -> int:
        """How many there are.

        Raises:
            UnavailableError: They can't be counted.
        """
