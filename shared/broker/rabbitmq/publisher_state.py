"""Whether the broker confirms what is published, judged by the last outcomes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from shared.domain.errors import UnavailableError, UnroutableError
from shared.events import EventType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.events import Event

# A failure expires after this time without a publish: it says nothing about the present any more.
_FAILURE_EXPIRES_AFTER_S: Final = 30.0


class PublisherState:
    """Remembers the last failed publish until one succeeds, or for 30 s.

    Attributes:
        is_unrouted: Whether an event was unrouted because the processors' queue is missing or not bound.
    """

    def __init__(self) -> None:
        self.is_unrouted = False
        self._hint = ""
        self._reason = ""
        self._refused_s = 0.0

    def keep_last_outcome(
        self, events: Sequence[Event], outcomes: Sequence[UnroutableError | UnavailableError | None]
    ) -> None:
        """Keep the last failure among these outcomes; clear the one before if none failed."""
        if any(outcomes):
            self._record_failures(events, outcomes)
        elif outcomes:
            self._reason = ""

    def keep_unrouted(self, hint: str) -> None:
        """Events stay unrouted, for this service can't declare the queue; the hint says who can."""
        self.is_unrouted = False
        self._hint = f"; {hint}"
        if self._reason:
            self._reason += self._hint

    def check(self) -> None:
        """Return if the last publish succeeded, or was long ago.

        Raises:
            UnavailableError: It failed, for this reason.
        """
        if self._reason and time.monotonic() - self._refused_s < _FAILURE_EXPIRES_AFTER_S:
            raise UnavailableError(f"RabbitMQ: {self._reason}")

    def _record_failures(
        self, events: Sequence[Event], outcomes: Sequence[UnroutableError | UnavailableError | None]
    ) -> None:
        for event, outcome in zip(events, outcomes, strict=True):
            is_unrouted = isinstance(outcome, UnroutableError)
            # Other events are for subscribers, and there may be none.
            if outcome is None or (is_unrouted and event.type is not EventType.SUBMITTED):
                continue
            self.is_unrouted |= is_unrouted
            hint = self._hint if is_unrouted else ""
            self._reason, self._refused_s = f"{outcome}{hint}", time.monotonic()
