"""Dead letters, as operators see and end them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Fate(Enum):
    """What an operator decides about a dead letter."""

    KEEP = auto()
    REPLAY = auto()
    DROP = auto()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that the processors, or the broker for them, put aside.

    Attributes:
        name: What an operator calls it: the same each time it is looked at.
        reason: Why the broker put it here: ``rejected``, ``delivery_limit``.
    """

    name: str
    reason: str
    body: bytes


class DeadLetters(Protocol):
    """The messages that were put aside."""

    async def go_through(self, decide: Callable[[DeadLetter], Fate]) -> list[DeadLetter]:
        """Do with each letter that is there now what ``decide`` says; all of them, in their order.

        Raises:
            UnavailableError: The broker went away; what was not decided about is still there.
            UnroutableError: A letter can't be sent again, because no processor has declared its queue.
        """
