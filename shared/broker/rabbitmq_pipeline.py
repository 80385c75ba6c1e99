"""Publishing to RabbitMQ many messages to a write, on the inside of the library.

Through aio-pika each message is a task, two futures and a write of its own: 12,000 events/s at the most.
Here the frames of up to 64 go out together, and confirmations are counted off instead of awaited one by one.
That replaces two methods of aiormq's channel and one of its connection, so it is used with the versions in
`PROVEN` only.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final, cast

from aiormq.abc import ChannelFrame
from pamqp import commands as spec

from shared.broker.publish_frames import PublishFrames
from shared.broker.rabbitmq import declare, is_blocked
from shared.broker.taken import Taken
from shared.broker.unconfirmed import Fate, Tally, Unconfirmed
from shared.domain.errors import UnavailableError, UnroutableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from aio_pika.abc import AbstractChannel
    from aiormq.abc import ConfirmationFrameType
    from aiormq.channel import Channel as UnderlayChannel
    from pamqp.header import ContentHeader

    from shared.broker.rabbitmq import End, Look
    from shared.broker.standing import Standing
    from shared.broker.topology import Topology
    from shared.events import Event

# What the tests of this module were run with; others get `shared.broker.rabbitmq_publisher.PlainPublisher`.
PROVEN: Final = {"aio-pika": "10.2.1", "aiormq": "7.2.4", "pamqp": "4.0.1"}

_WRITE_MESSAGES: Final = 64
_WRITE_BYTES: Final = 256 * 2**10
# A confirmation that was lost would take its place on the way for ever. Quorum queues elect a leader in less.
_CONFIRM_WITHIN_S: Final = 30.0


class PipelinedPublisher:
    """A `shared.ports.broker.Publisher`."""

    def __init__(self, topology: Topology, *, standing: Standing, timeout_s: float) -> None:
        self._topology = topology
        self._standing = standing
        self._timeout_s = timeout_s
        self._taken = Taken()
        self._pipeline: _Pipeline | None = None

    @property
    def is_connected(self) -> bool:
        """Whether publishing can succeed now."""
        return self._pipeline is not None

    @asynccontextmanager
    async def attach(self, channel: AbstractChannel, _end: End) -> AsyncIterator[Look]:
        """Publish on this channel; nobody else may, because the library no longer sees confirmations."""
        underlay = cast("UnderlayChannel", await channel.get_underlay_channel())
        pipeline = self._pipeline = _Pipeline(underlay, self._topology.exchange)

        async def look() -> None:
            if is_blocked(underlay):  # it may not answer
                return
            if self._taken.is_unrouted:
                await declare(channel, self._topology)
                self._taken = Taken()
            else:
                await channel.get_exchange(self._topology.exchange, ensure=True)
            pipeline.check_confirmed()

        try:
            yield look
        finally:
            self._pipeline = None
            pipeline.lose()

    async def publish(self, events: Sequence[Event]) -> list[UnroutableError | UnavailableError | None]:
        tally = Tally(len(events))
        reason = await self._send(events, tally) if events else ""
        outcomes = [_outcome(event, fate, reason) for event, fate in zip(events, tally.fates, strict=True)]
        self._taken.note(events, outcomes)
        return outcomes

    async def check(self) -> None:
        if trouble := self._trouble():
            raise UnavailableError(f"RabbitMQ: {trouble}", is_logged=True)

    async def check_taken(self) -> None:
        """Return if the broker can take events, and took those that were published last.

        Raises:
            UnavailableError: It can't, or did not, for this reason.
        """
        self._standing.check()
        await self.check()
        self._taken.check()

    def _trouble(self) -> str:
        """Why publishing can't succeed now; nothing if it can."""
        pipeline = self._pipeline
        if pipeline is None or pipeline.is_lost:
            return self._standing.reason or "the connection was lost"
        return pipeline.trouble(stalled_after_s=self._timeout_s)

    async def _send(self, events: Sequence[Event], tally: Tally) -> str:
        """Send the events and wait for their fates; why one may still be unknown."""
        pipeline, trouble = self._pipeline, self._trouble()
        if pipeline is None or trouble:
            return trouble
        try:
            async with asyncio.timeout(self._timeout_s) as limit:
                with pipeline.cutting_short(limit):
                    await pipeline.send(events, tally)
                    await tally.complete.wait()
        except TimeoutError:
            return self._trouble() or f"none came in {self._timeout_s:g} s"
        return ""


class _Pipeline:
    """One channel, and what is on its way there."""

    def __init__(self, channel: UnderlayChannel, exchange: str) -> None:
        self.is_lost = False
        self._channel = channel
        self._frames = PublishFrames(
            exchange, channel=channel.number, frame_max=channel.connection.connection_tune.frame_max
        )
        self._unconfirmed = Unconfirmed()
        self._turn = asyncio.Lock()
        self._limits: set[asyncio.Timeout] = set()
        self._shortage = ""
        channel._on_confirm_frame = self._on_confirm  # type: ignore[method-assign]  # noqa: SLF001 - see above
        channel._on_return_frame = self._on_return  # type: ignore[method-assign]  # noqa: SLF001
        self._block = channel.connection._Connection__handle_connection_blocked  # type: ignore[attr-defined]  # noqa: SLF001
        channel.connection._Connection__handle_connection_blocked = self._on_blocked  # type: ignore[attr-defined]  # noqa: SLF001
        channel.closing.add_done_callback(lambda _: self.lose())

    async def send(self, events: Sequence[Event], tally: Tally) -> None:
        """Hand each event to the connection's writer; callers take turns, a write each."""
        start = 0
        while start < len(events):
            portion = _portion(events, start)
            async with self._turn:
                await self._write(portion, tally, start)
            start += len(portion)

    @contextmanager
    def cutting_short(self, limit: asyncio.Timeout) -> Iterator[None]:
        """Inside, the time limit is up as soon as the channel is lost."""
        self._limits.add(limit)
        try:
            yield
        finally:
            self._limits.remove(limit)

    def lose(self) -> None:
        """The channel is gone; what is on its way stays unknown, and nobody waits for it any longer."""
        self.is_lost = True
        self._cut_short()

    def trouble(self, *, stalled_after_s: float) -> str:
        """Why nothing can be published now; nothing if it can."""
        if is_blocked(self._channel):
            return f"the broker blocks publishers{self._shortage}"
        if self._unconfirmed.waited_s() > stalled_after_s:
            return "the broker answers and confirms nothing"
        return ""

    def _cut_short(self) -> None:
        for limit in self._limits:
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time())

    def check_confirmed(self) -> None:
        """Find a broker that answers and does not confirm.

        Raises:
            ConnectionError: A message has been waiting for too long.
        """
        waited_s = self._unconfirmed.waited_s()
        if waited_s > _CONFIRM_WITHIN_S:
            raise ConnectionError(f"a message has not been confirmed for {waited_s:.0f} s")

    async def _write(self, events: Sequence[Event], tally: Tally, start: int) -> None:
        await self._unconfirmed.room.wait()
        # Short of memory, the broker stops reading. What we sent all the same would wait in the socket,
        # and be published long after we had called it unavailable and published it again.
        await self._channel.connection.ready()
        # Nobody else takes a tag meanwhile, and cancelled, the queue has taken nothing: tags stay in step.
        first_tag = self._unconfirmed.next_tag
        payload = b"".join(
            part for tag, event in enumerate(events, first_tag) for part in self._frames.of(event, tag)
        )
        await self._channel.write_queue.put(ChannelFrame(payload=payload, should_close=False))
        self._unconfirmed.add(events, tally, start)

    async def _on_confirm(self, frame: ConfirmationFrameType) -> None:
        fate = Fate.TAKEN if isinstance(frame, spec.Basic.Ack) else Fate.REFUSED
        self._unconfirmed.confirm(frame.delivery_tag or 0, fate, multiple=getattr(frame, "multiple", False))

    async def _on_blocked(self, frame: spec.Connection.Blocked) -> None:
        await self._block(frame)
        self._shortage = f": {frame.reason}" if frame.reason else ""
        self._cut_short()

    async def _on_return(self, frame: spec.Basic.Return) -> None:
        header = cast("ContentHeader", await self._channel._get_frame())  # noqa: SLF001 - see above
        await self._channel._read_content(frame, header)  # noqa: SLF001
        tag = self._frames.tag_of(header.properties.message_id)
        if tag is not None:
            self._unconfirmed.give_back(tag)


def _portion(events: Sequence[Event], start: int) -> Sequence[Event]:
    """What goes into one write: so many messages and bytes at the most, or one larger message."""
    end, size = start, 0
    while end < min(len(events), start + _WRITE_MESSAGES) and size < _WRITE_BYTES:
        size += len(events[end].body)
        end += 1
    return events[start:end]


def _outcome(event: Event, fate: Fate, reason: str) -> UnroutableError | UnavailableError | None:
    if fate is Fate.TAKEN:
        return None
    if fate is Fate.UNROUTABLE:
        return UnroutableError(f"no queue is bound to {event.type}")
    why = "it refused" if fate is Fate.REFUSED else reason
    return UnavailableError(f"the broker did not confirm {event.type}: {why}")
