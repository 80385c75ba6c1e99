"""Publishing to the broker, and consuming from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.domain.errors import UnavailableError, UnroutableError
    from shared.events import Event


class Publisher(Protocol):
    """A way to the broker."""

    async def publish(self, events: Sequence[Event]) -> list[UnroutableError | UnavailableError | None]:
        """Hand over each event; one outcome per event, in order, within a bounded time.

        None: the broker has taken responsibility. UnroutableError: no queue is bound to its type.
        UnavailableError: unknown; publishing it again is safe, readers deduplicate by its id.
        """

    async def check(self) -> None:
        """Return if publishing can succeed now, at once in any case.

        Raises:
            UnavailableError: It can't, for this reason; `publish` would say so without a wait.
        """


class Delivery(Protocol):
    """One handing-over of a message. Exactly one of the three methods ends it.

    A delivery that is not ended, or whose ending can't be told to the broker, comes again.
    """

    @property
    def body(self) -> bytes:
        """The message as it was published."""

    @property
    def attempt(self) -> int:
        """1 for the first delivery, more after each return."""

    async def ack(self) -> None:
        """Done: it will not come again."""

    async def requeue(self) -> None:
        """Give it back for another delivery."""

    async def dead_letter(self) -> None:
        """Put it aside for an operator: no delivery of it can succeed."""


class Consumer(Protocol):
    """The receiving end of one queue; comes back by itself after the broker was away."""

    async def receive(self, limit: int) -> list[Delivery]:
        """Wait for a delivery, then take what is waiting: between 1 and ``limit``, oldest first."""

    async def pause(self) -> list[Delivery]:
        """Take nothing more until `resume`; what was received can still be ended.

        Returns:
            What had come and nobody received, for the caller to end.
        """

    async def resume(self) -> None:
        """Take messages again, once the broker is there."""
