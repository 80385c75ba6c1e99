"""Publishing and acknowledging one by one, by documented methods of aio-pika and aiormq alone.

For the versions that `aiormq_internals` is not proven with.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from aio_pika import DeliveryMode, Message
from aio_pika.exceptions import DeliveryError, PublishError
from pamqp import commands as spec

from shared.broker.rabbitmq.connection import is_blocked
from shared.broker.rabbitmq.publisher_confirms import Fate, Tally
from shared.broker.rabbitmq.refusals import words_of
from shared.events import CONTENT_TYPE
from shared.runtime.supervision import failure_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aio_pika.abc import AbstractExchange
    from aiormq.abc import AbstractChannel

    from shared.broker.rabbitmq.acknowledgements import Endings
    from shared.events import Event

_MAX_IN_FLIGHT: Final = 256


class OneByOne:
    """Sends each event by itself; it has what `Pipeline` has."""

    shortage: Final = ""

    def __init__(self, channel: AbstractChannel, exchange: AbstractExchange) -> None:
        self.channel = channel
        self._exchange = exchange
        self._in_flight = asyncio.Semaphore(_MAX_IN_FLIGHT)

    async def send(self, events: Sequence[Event], tally: Tally) -> str:
        """Return when all was tried, and why a fate is unknown if one is."""
        reasons = await asyncio.gather(
            *(self._send(event, tally, place) for place, event in enumerate(events))
        )
        return next(filter(None, reasons), "")

    def waited_s(self) -> float:
        """It does not know."""
        return 0.0

    async def _send(self, event: Event, tally: Tally, place: int) -> str:
        async with self._in_flight:
            # Short of memory, the broker stops reading. What we sent all the same would wait in the socket,
            # and be published long after we had called it unavailable and published it again.
            if await is_blocked(self.channel):
                return "the broker blocks publishers"
            failure = await failure_of(self._exchange.publish(_message(event), event.type, mandatory=True))
        match failure:
            case None:
                tally.settle(place, Fate.TAKEN)
            case PublishError():
                tally.settle(place, Fate.UNROUTABLE)
            case DeliveryError():
                tally.settle(place, Fate.REFUSED)
            case _:
                return words_of(failure)
        return ""


def _message(event: Event) -> Message:
    return Message(
        event.body,
        # Not the event's id: the library tells returned messages apart by this one, and of four with the
        # same id in flight it took three for confirmed.
        message_id=uuid4().hex,
        content_type=CONTENT_TYPE,
        type=event.type,
        delivery_mode=DeliveryMode.PERSISTENT,
    )


class AcknowledgeOneByOne:
    """Sends each acknowledgement and rejection of a channel by itself."""

    def __init__(self, channel: AbstractChannel) -> None:
        self._channel = channel
        self._turn = asyncio.Lock()

    async def send(self, endings: Endings) -> None:
        """Return when all that was to be told is sent; cancelled, it is sent all the same."""
        frames = list(endings.frames())
        endings.forget(len(endings))
        await asyncio.shield(self._send(frames))

    async def _send(self, frames: Sequence[spec.Basic.Ack | spec.Basic.Reject]) -> None:
        async with self._turn:  # an ack of several must not overtake a rejection of one of them
            for frame in frames:
                if isinstance(frame, spec.Basic.Ack):
                    await self._channel.basic_ack(frame.delivery_tag or 0, multiple=frame.multiple)
                else:
                    await self._channel.basic_reject(frame.delivery_tag or 0, requeue=frame.requeue)
