"""The in-process broker of the embedded mode and of fast tests.

It carries encoded bytes only, so that a defect of the wire form shows here too. Its messages are lost with
the process; the relay publishes them again from the database, as it does when a real broker loses a message.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import count
from typing import TYPE_CHECKING

from shared.broker.publish_metrics import count_publishes
from shared.domain.errors import UnavailableError, UnroutableError
from shared.ports.operators.dead_letters import DeadLetter, Decision

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from shared.events import Event
    from shared.ports.broker import Delivery


@dataclass(frozen=True, slots=True)
class _Message:
    body: bytes
    attempt: int = 1


@dataclass(slots=True)
class _Queue:
    types: set[str] = field(default_factory=set)
    waiting: deque[_Message] = field(default_factory=deque)
    dead: list[_Message] = field(default_factory=list)


class InProcessBroker:
    """Queues in memory, each bound to exact event types."""

    def __init__(self) -> None:
        self.is_connected = True
        self._queues: dict[str, _Queue] = {}
        self._consumers: set[InProcessConsumer] = set()
        self._changed = asyncio.Event()

    def bind(self, queue: str, *types: str) -> None:
        """Route events of these types to the queue; binding again changes nothing."""
        self._queues.setdefault(queue, _Queue()).types.update(types)

    def publisher(self) -> InProcessPublisher:
        """A publisher to this broker; it needs no closing."""
        return InProcessPublisher(self)

    @asynccontextmanager
    async def consumer(self, queue: str, *, prefetch: int) -> AsyncIterator[InProcessConsumer]:
        """Consume a bound queue; at most ``prefetch`` deliveries are unsettled at any time.

        Unsettled deliveries go back to the front of the queue at the end.
        """
        consumer = InProcessConsumer(self, self._queues[queue], prefetch)
        self._consumers.add(consumer)
        try:
            yield consumer
        finally:
            self._consumers.remove(consumer)
            consumer.close()

    def disconnect(self) -> None:
        """Simulate an outage until `reconnect`: unsettled deliveries go back; settling them has no effect."""
        self.is_connected = False
        for consumer in self._consumers:
            consumer.give_back()

    def reconnect(self) -> None:
        """End the outage; queued messages are still there."""
        self.is_connected = True
        self.wake_consumers()

    def waiting(self, queue: str) -> list[bytes]:
        """The bodies that are not delivered, oldest first."""
        return [message.body for message in self._queues[queue].waiting]

    def dead_letters(self, queue: str) -> list[bytes]:
        """The bodies of the queue's dead letters, oldest first."""
        return [message.body for message in self._queues[queue].dead]

    def operators_letters(self, queue: str) -> InProcessDeadLetters:
        """The dead letters of a queue, for operators."""
        return InProcessDeadLetters(self, self._queues[queue])

    def route(self, event: Event) -> UnroutableError | UnavailableError | None:
        """Add the event's body to each queue that is bound to its type."""
        if not self.is_connected:
            return UnavailableError("the broker is away")
        bound = [queue for queue in self._queues.values() if event.type in queue.types]
        for queue in bound:
            queue.waiting.append(_Message(event.body))
        self.wake_consumers()
        return None if bound else UnroutableError(f"no queue is bound to {event.type}")

    def wake_consumers(self) -> None:
        """Wake every consumer that waits for a change."""
        self._changed.set()
        self._changed.clear()

    async def wait_for_change(self) -> None:
        """Return when a queue or a consumer may have changed."""
        await self._changed.wait()


class InProcessDeadLetters:
    """`DeadLetters` and `DeadLetterCounter` of `shared.ports.operators.dead_letters`."""

    def __init__(self, broker: InProcessBroker, queue: _Queue) -> None:
        self._broker = broker
        self._queue = queue

    async def count(self) -> int:
        return len(self._queue.dead)

    async def settle_each(self, decide: Callable[[DeadLetter], Decision]) -> list[DeadLetter]:
        messages, self._queue.dead = self._queue.dead, []
        letters = [DeadLetter(sha256(each.body).hexdigest()[:12], "rejected", each.body) for each in messages]
        for letter, message in zip(letters, messages, strict=True):
            decision = decide(letter)
            if decision is Decision.KEEP:
                self._queue.dead.append(message)
            elif decision is Decision.REPLAY:
                self._queue.waiting.append(_Message(message.body))
        self._broker.wake_consumers()
        return letters


class InProcessPublisher:
    """A `shared.ports.broker.Publisher`."""

    def __init__(self, broker: InProcessBroker) -> None:
        self._broker = broker

    @property
    def is_connected(self) -> bool:
        """Whether publishing can succeed now."""
        return self._broker.is_connected

    async def check(self) -> None:
        if not self.is_connected:
            raise UnavailableError("the broker is away")

    async def publish(self, events: Sequence[Event]) -> list[UnroutableError | UnavailableError | None]:
        outcomes = [self._broker.route(event) for event in events]
        count_publishes(outcomes)
        return outcomes


class InProcessConsumer:
    """A `shared.ports.broker.Consumer`."""

    def __init__(self, broker: InProcessBroker, queue: _Queue, prefetch: int) -> None:
        self._broker = broker
        self._queue = queue
        self._prefetch = prefetch
        self._tags = count()
        self._unsettled: dict[int, _Message] = {}
        self._is_closed = False
        self._is_paused = False

    @property
    def is_connected(self) -> bool:
        """Whether deliveries can come now, unless it is paused."""
        return self._broker.is_connected and not self._is_closed

    async def receive(self, limit: int) -> list[Delivery]:
        while not (deliveries := self._take(limit)):
            await self._broker.wait_for_change()
        return deliveries

    async def set_prefetch(self, count: int) -> None:
        self._prefetch = count
        self._broker.wake_consumers()

    async def pause(self) -> list[Delivery]:
        self._is_paused = True
        return []  # nothing is prefetched

    async def resume(self) -> None:
        self._is_paused = False
        self._broker.wake_consumers()

    def settle(self, tag: int, *, returned: bool = False, dead: bool = False) -> None:
        """Settle a delivery, unless it was settled or returned before."""
        message = self._unsettled.pop(tag, None)
        if message is not None and returned:
            self._put_back(message)
        elif message is not None and dead:
            self._queue.dead.append(message)
        self._broker.wake_consumers()  # the prefetch allows one more

    def give_back(self) -> None:
        """Return unsettled deliveries to the queue, in order."""
        while self._unsettled:
            self._put_back(self._unsettled.popitem()[1])
        self._broker.wake_consumers()

    def close(self) -> None:
        """Return unsettled deliveries to the queue and consume nothing more."""
        self._is_closed = True
        self.give_back()

    def _take(self, limit: int) -> list[Delivery]:
        if self._is_paused or not self.is_connected:
            return []
        capacity = self._prefetch - len(self._unsettled)
        return [self._deliver() for _ in range(min(limit, capacity, len(self._queue.waiting)))]

    def _deliver(self) -> InProcessDelivery:
        tag, message = next(self._tags), self._queue.waiting.popleft()
        self._unsettled[tag] = message
        return InProcessDelivery(self, tag, message.body, message.attempt)

    def _put_back(self, message: _Message) -> None:
        self._queue.waiting.appendleft(replace(message, attempt=message.attempt + 1))


@dataclass(frozen=True, slots=True)
class InProcessDelivery:
    """A `shared.ports.broker.Delivery`."""

    _consumer: InProcessConsumer
    _tag: int
    body: bytes
    attempt: int

    async def ack(self) -> None:
        self._consumer.settle(self._tag)

    async def requeue(self) -> None:
        self._consumer.settle(self._tag, returned=True)

    async def dead_letter(self) -> None:
        self._consumer.settle(self._tag, dead=True)
