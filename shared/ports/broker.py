"""Publish to the broker, and consume from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.domain.errors import UnavailableError, UnroutableError
    from shared.events import Event


class Publisher(Protocol):
    """Publishes events with confirmation."""

    async def publish(self, events: Sequence[Event]) -> list[UnroutableError | UnavailableError | None]:
        """Publish each event; one outcome per event, in order, within a bounded time.

        None: the broker confirmed it. UnroutableError: no queue is bound to its type. UnavailableError:
        unknown; publishing it again is safe, since subscribers deduplicate by its id.
        """

    async def check(self) -> None:
        """Return without waiting if publishing can succeed now.

        Raises:
            UnavailableError: It can't, for this reason; `publish` would fail at once too.
        """


class Delivery(Protocol):
    """One delivery of a message, settled by exactly one of the three methods.

    An unsettled delivery, or one whose settlement does not reach the broker, is delivered again.
    """

    @property
    def body(self) -> bytes:
        """The message as it was published."""

    @property
    def attempt(self) -> int:
        """1 for the first delivery, more for each redelivery."""

    async def ack(self) -> None:
        """The message is processed: no redelivery."""

    async def requeue(self) -> None:
        """Return the message to the queue for redelivery."""

    async def dead_letter(self) -> None:
        """Move the message to the dead-letter queue: no delivery of it can succeed."""


class Consumer(Protocol):
    """Consumes one queue; reconnects after an outage of the broker."""

    async def receive(self, limit: int) -> list[Delivery]:
        """Wait for a delivery, then return those that are there: between 1 and ``limit``, oldest first."""

    async def set_prefetch(self, count: int) -> None:
        """Let at most so many deliveries be unsettled; those that are unsettled already stay.

        Only new deliveries count: until the others are settled, there may be so many more.
        """

    async def pause(self) -> list[Delivery]:
        """Consume nothing more until `resume`; received deliveries can still be settled.

        Returns:
            Deliveries that were prefetched and not received, for the caller to settle.
        """

    async def resume(self) -> None:
        """Consume again, as soon as the broker is available."""
