"""Publish and acknowledge one by one, with documented methods of aio-pika and aiormq alone.

For library versions that `aiormq_internals` is not proven with.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from aio_pika import DeliveryMode, Message
from aio_pika.exceptions import DeliveryError, PublishError
from pamqp import commands as spec

from shared.broker.rabbitmq.connection import is_blocked
from shared.broker.rabbitmq.publisher_confirms import BatchOutcomes, PublishOutcome
from shared.broker.rabbitmq.refusals import describe_failure
from shared.events import CONTENT_TYPE
from shared.runtime.supervision import failure_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aio_pika.abc import AbstractExchange
    from aiormq.abc import AbstractChannel

    from shared.broker.rabbitmq.acknowledgements import Acknowledgements
    from shared.events import Event

_MAX_CONCURRENT: Final = 256


class OneByOnePublisher:
    """Sends each event by itself; same interface as `PipelinedPublisher`."""

    blocked_reason: Final = ""

    def __init__(self, channel: AbstractChannel, exchange: AbstractExchange) -> None:
        self.channel = channel
        self._exchange = exchange
        self._semaphore = asyncio.Semaphore(_MAX_CONCURRENT)

    async def send(self, events: Sequence[Event], batch: BatchOutcomes) -> str:
        """Return when every event was tried; the reason if an outcome is unknown."""
        reasons = await asyncio.gather(
            *(self._send(event, batch, place) for place, event in enumerate(events))
        )
        return next(filter(None, reasons), "")

    def oldest_wait_s(self) -> float:
        """Always 0: not measured here."""
        return 0.0

    async def _send(self, event: Event, batch: BatchOutcomes, place: int) -> str:
        async with self._semaphore:
            # Short of memory, the broker stops reading. An event sent now would wait in the socket and be
            # published long after we had reported it unavailable and published it again.
            if await is_blocked(self.channel):
                return "the broker blocks publishers"
            failure = await failure_of(self._exchange.publish(_message(event), event.type, mandatory=True))
        match failure:
            case None:
                batch.resolve(place, PublishOutcome.CONFIRMED)
            case PublishError():
                batch.resolve(place, PublishOutcome.UNROUTABLE)
            case DeliveryError():
                batch.resolve(place, PublishOutcome.NACKED)
            case _:
                return describe_failure(failure)
        return ""


def _message(event: Event) -> Message:
    return Message(
        event.body,
        # Not the event's id: the library matches returned messages by message id, and of four unconfirmed
        # ones with the same id it took three for confirmed.
        message_id=uuid4().hex,
        content_type=CONTENT_TYPE,
        type=event.type,
        delivery_mode=DeliveryMode.PERSISTENT,
    )


class OneByOneAcknowledger:
    """Sends each acknowledgement and rejection of a channel by itself."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel
        self._lock = asyncio.Lock()

    async def send(self, acknowledgements: Acknowledgements) -> None:
        """Return when every unsent disposition is sent; after a cancellation it is sent all the same."""
        frames = list(acknowledgements.frames())
        acknowledgements.mark_sent(len(acknowledgements))
        await asyncio.shield(self._send(frames))

    async def _send(self, frames: Sequence[spec.Basic.Ack | spec.Basic.Reject]) -> None:
        async with self._lock:  # an ack of several must not overtake a rejection of one of them
            for frame in frames:
                if isinstance(frame, spec.Basic.Ack):
                    await self._channel.basic_ack(frame.delivery_tag or 0, multiple=frame.multiple)
                else:
                    await self._channel.basic_reject(frame.delivery_tag or 0, requeue=frame.requeue)
