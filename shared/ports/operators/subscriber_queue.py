"""The queue of one subscriber."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.events import Event


class SubscriberQueue(Protocol):
    """A queue that exists, into which events are put for its subscriber alone."""

    async def put(self, events: Sequence[Event]) -> None:
        """Put these events into it, as they were published first; the broker has them when this returns.

        Raises:
            UnavailableError: Some may be in it. Putting them in again is safe: subscribers deduplicate.
        """
