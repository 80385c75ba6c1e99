"""Publish many messages per write, with the versions of aiormq that `aiormq_internals` is proven with.

Through aio-pika each message is a task, two futures and a write of its own: 12,000 events/s at the most. Here
one write takes the frames of up to 64 messages, and confirms are matched by tag instead of awaited one by
one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from pamqp import commands as spec

from shared.broker.rabbitmq.aiormq_internals import largest_frame, take_over_confirms, write
from shared.broker.rabbitmq.publish_frames import PublishFrames
from shared.broker.rabbitmq.publisher_confirms import BatchOutcomes, PublisherConfirms, PublishOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aiormq.abc import AbstractChannel, ConfirmationFrameType

    from shared.events import Event

_WRITE_MESSAGES: Final = 64
_WRITE_BYTES: Final = 256 * 2**10


class PipelinedPublisher:
    """Sends many events per write; nothing else may publish on its channel.

    Args:
        channel: To publish on.
        exchange: To publish to.
        on_blocked: Called when the broker blocks publishers.

    Attributes:
        blocked_reason: The resource that the broker is short of when it blocks publishers, if it named one.
    """

    def __init__(self, channel: AbstractChannel, exchange: str, *, on_blocked: Callable[[], None]) -> None:
        self.channel = channel
        self.blocked_reason = ""
        self._frames = PublishFrames(exchange, channel=channel.number, frame_max=largest_frame(channel))
        self._confirms = PublisherConfirms()
        self._lock = asyncio.Lock()
        self._notify_blocked = on_blocked
        take_over_confirms(
            channel, on_confirm=self._on_confirm, on_return=self._on_return, on_blocked=self._on_blocked
        )

    async def send(self, events: Sequence[Event], batch: BatchOutcomes) -> str:
        """Return when the outcome of each event is known; concurrent callers alternate, a write each."""
        start = 0
        while start < len(events):
            chunk = _chunk(events, start)
            async with self._lock:
                await self._write(chunk, batch, start)
            start += len(chunk)
        await batch.complete.wait()
        return ""

    def oldest_wait_s(self) -> float:
        """For how long the oldest event has been waiting for its confirm."""
        return self._confirms.oldest_wait_s()

    async def _write(self, events: Sequence[Event], batch: BatchOutcomes, start: int) -> None:
        await self._confirms.has_capacity.wait()
        # Short of memory, the broker stops reading. Events sent now would wait in the socket and be published
        # long after we had reported them unavailable and published them again.
        await self.channel.connection.ready()
        # The lock keeps other callers from taking a tag, and a cancelled write queues nothing: tags stay in
        # step.
        first_tag = self._confirms.next_tag
        frames = (
            part
            for tag, event in enumerate(events, first_tag)
            for part in self._frames.encode_publish(event, tag)
        )
        await write(self.channel, b"".join(frames))
        self._confirms.add(events, batch, start)

    def _on_confirm(self, frame: ConfirmationFrameType) -> None:
        outcome = PublishOutcome.CONFIRMED if isinstance(frame, spec.Basic.Ack) else PublishOutcome.NACKED
        self._confirms.confirm(frame.delivery_tag or 0, outcome, multiple=getattr(frame, "multiple", False))

    def _on_return(self, message_id: str | None) -> None:
        tag = self._frames.tag_of(message_id)
        if tag is not None:
            self._confirms.mark_unroutable(tag)

    def _on_blocked(self, reason: str) -> None:
        self.blocked_reason = reason
        self._notify_blocked()


def _chunk(events: Sequence[Event], start: int) -> Sequence[Event]:
    """The events of one write: up to 64 messages and about 256 KiB, or one larger message."""
    end, size = start, 0
    while end < min(len(events), start + _WRITE_MESSAGES) and size < _WRITE_BYTES:
        size += len(events[end].body)
        end += 1
    return events[start:end]
