"""Publishing many messages to a write, with the versions of aiormq that `aiormq_internals` is proven with.

Through aio-pika each message is a task, two futures and a write of its own: 12,000 events/s at the most.
Here the frames of up to 64 go out together, and publisher confirms are counted off instead of awaited one by
one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from pamqp import commands as spec

from shared.broker.rabbitmq.aiormq_internals import largest_frame, take_over_confirms, write
from shared.broker.rabbitmq.publish_frames import PublishFrames
from shared.broker.rabbitmq.publisher_confirms import Fate, Tally, Unconfirmed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiormq.abc import AbstractChannel, ConfirmationFrameType

    from shared.events import Event

_WRITE_MESSAGES: Final = 64
_WRITE_BYTES: Final = 256 * 2**10


class Pipeline:
    """Sends many events to a write; nobody else may publish on its channel.

    Args:
        channel: What it publishes on.
        exchange: Where it publishes.
        on_blocked: Is called when the broker blocks publishers.

    Attributes:
        shortage: What the broker is short of when it blocks publishers, as far as it said so.
    """

    def __init__(self, channel: AbstractChannel, exchange: str, *, on_blocked: Callable[[], None]) -> None:
        self.channel = channel
        self.shortage = ""
        self._frames = PublishFrames(exchange, channel=channel.number, frame_max=largest_frame(channel))
        self._unconfirmed = Unconfirmed()
        self._turn = asyncio.Lock()
        self._cut_short = on_blocked
        take_over_confirms(
            channel, on_confirm=self._on_confirm, on_return=self._on_return, on_blocked=self._on_blocked
        )

    async def send(self, events: Sequence[Event], tally: Tally) -> str:
        """Return when the fate of each event is known; callers take turns, a write each."""
        start = 0
        while start < len(events):
            portion = _portion(events, start)
            async with self._turn:
                await self._write(portion, tally, start)
            start += len(portion)
        await tally.complete.wait()
        return ""

    def waited_s(self) -> float:
        """For how long the oldest event has been waiting for its confirm."""
        return self._unconfirmed.waited_s()

    async def _write(self, events: Sequence[Event], tally: Tally, start: int) -> None:
        await self._unconfirmed.room.wait()
        # Short of memory, the broker stops reading. What we sent all the same would wait in the socket,
        # and be published long after we had called it unavailable and published it again.
        await self.channel.connection.ready()
        # Nobody else takes a tag meanwhile, and cancelled, nothing was queued: tags stay in step.
        first_tag = self._unconfirmed.next_tag
        frames = (part for tag, event in enumerate(events, first_tag) for part in self._frames.of(event, tag))
        await write(self.channel, b"".join(frames))
        self._unconfirmed.add(events, tally, start)

    def _on_confirm(self, frame: ConfirmationFrameType) -> None:
        fate = Fate.TAKEN if isinstance(frame, spec.Basic.Ack) else Fate.REFUSED
        self._unconfirmed.confirm(frame.delivery_tag or 0, fate, multiple=getattr(frame, "multiple", False))

    def _on_return(self, message_id: str | None) -> None:
        tag = self._frames.tag_of(message_id)
        if tag is not None:
            self._unconfirmed.give_back(tag)

    def _on_blocked(self, reason: str) -> None:
        self.shortage = reason
        self._cut_short()


def _portion(events: Sequence[Event], start: int) -> Sequence[Event]:
    """What goes into one write: so many messages and bytes at the most, or one larger message."""
    end, size = start, 0
    while end < min(len(events), start + _WRITE_MESSAGES) and size < _WRITE_BYTES:
        size += len(events[end].body)
        end += 1
    return events[start:end]
