"""Send what happened to one subscriber again, and to nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.events import time_of

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from shared.events import EventType
    from shared.ports.event_log import EventLog
    from shared.ports.operators.subscriber_queue import SubscriberQueue

_PAGE: Final = 500


async def send_events(
    *,
    log: EventLog,
    queue: SubscriberQueue,
    types: Collection[EventType],
    since: datetime | None = None,
    until: datetime | None = None,
) -> int:
    """Put the events of the log into a queue, with their first ids; how many.

    What happens from now on is left out: it is published to the queue, if that is bound.

    Args:
        log: Read from its beginning.
        queue: Of the subscriber.
        types: What happened.
        since: Nothing logged before.
        until: Nothing that happened then or later.

    Raises:
        UnavailableError: Some are in the queue. Sending all again is safe: subscribers deduplicate.
    """
    end, position, sent = await log.end(), None, 0
    while True:
        page = await log.read(position, limit=_PAGE, types=types, since=since)
        events = [each.event for each in page.events if each.position <= end]
        if until is not None:
            events = [event for event in events if time_of(event) < until]
        await queue.put(events)
        sent += len(events)
        position = page.position
        if not page.has_more or position >= end:
            return sent
