"""Erase an ECG: commit first, then announce; an unavailable broker delays only the announcement."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from shared.domain.errors import NotFoundError, UnavailableError
from shared.events import deleted_event
from shared.observability.logs import Logger
from shared.publishing import publish_batches

if TYPE_CHECKING:
    from datetime import datetime

    from shared.ports.broker import Publisher
    from shared.ports.event_source import EventSource
    from shared.ports.outbox import Outbox
    from shared.ports.owned_ecgs import OwnedEcgs

_log = Logger(__name__)


async def erase(
    owner: str,
    ecg_id: str,
    *,
    owned_ecgs: OwnedEcgs,
    outbox: Outbox,
    publisher: Publisher,
    event_source: EventSource,
    publish_timeout_s: float,
    now: datetime,
    traceparent: str,
) -> None:
    """Erase an ECG, queued or finished, with its signals and results, and announce that.

    Once this returns it is gone: if that could not be announced in time, the relay will do it.

    Raises:
        NotFoundError: The owner has no such ECG, or none any more.
        UnavailableError: It may have been erased. A second attempt tells whether it was.
    """
    source = await event_source.uri()
    event_of = partial(deleted_event, source=source, now=now, traceparent=traceparent)
    event_batch = await owned_ecgs.erase(owner, ecg_id, event_of=event_of)
    if event_batch is None:
        raise NotFoundError("You have no ECG of this id.")
    try:
        async with asyncio.timeout(publish_timeout_s):
            await publish_batches([event_batch], outbox=outbox, publisher=publisher)
    except (TimeoutError, UnavailableError) as error:
        _log.warning("an erasure may not be announced yet; the relay will", reason=str(error))
