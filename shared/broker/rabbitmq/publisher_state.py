"""Whether the broker takes what is published, as far as the last outcomes show."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from shared.domain.errors import UnavailableError, UnroutableError
from shared.events import EventType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.events import Event

# So long after the last refusal nobody knows any more: nothing has been published since.
_FORGET_AFTER_S: Final = 30.0


class Taken:
    """Remembers what the broker refused until it takes something, or for a while.

    Attributes:
        is_unrouted: Whether the processors' queue was found missing, or not bound.
    """

    def __init__(self) -> None:
        self.is_unrouted = False
        self._reason = ""
        self._refused_s = 0.0

    def note(
        self, events: Sequence[Event], outcomes: Sequence[UnroutableError | UnavailableError | None]
    ) -> None:
        """These events had these outcomes."""
        if any(outcomes):
            self._note_failures(events, outcomes)
        elif outcomes:
            self._reason = ""

    def check(self) -> None:
        """Return if nothing was refused of late.

        Raises:
            UnavailableError: Something was, for this reason.
        """
        if self._reason and time.monotonic() - self._refused_s < _FORGET_AFTER_S:
            raise UnavailableError(f"RabbitMQ: {self._reason}")

    def _note_failures(
        self, events: Sequence[Event], outcomes: Sequence[UnroutableError | UnavailableError | None]
    ) -> None:
        for event, outcome in zip(events, outcomes, strict=True):
            is_unrouted = isinstance(outcome, UnroutableError)
            # What is found is for subscribers, of whom there need not be any.
            if outcome is None or (is_unrouted and event.type is not EventType.SUBMITTED):
                continue
            self.is_unrouted |= is_unrouted
            self._reason, self._refused_s = str(outcome), time.monotonic()
