"""Acknowledgements of one channel's deliveries, in as few frames as are safe."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from pamqp import commands as spec

if TYPE_CHECKING:
    from collections.abc import Iterator


class Disposition(Enum):
    """What the broker does with a delivery's message."""

    ACK = auto()
    REQUEUE = auto()
    DEAD_LETTER = auto()


class Acknowledgements:
    """Unsettled delivery tags, and dispositions that are decided but not sent yet."""

    def __init__(self) -> None:
        self._unsettled: dict[int, None] = {}  # in the order of their tags, which is that of delivery
        self._unsent: list[tuple[int, Disposition]] = []

    def __len__(self) -> int:
        """Number of dispositions that are not sent yet."""
        return len(self._unsent)

    @property
    def unsettled(self) -> int:
        """Number of deliveries without a disposition."""
        return len(self._unsettled)

    def add(self, tag: int) -> None:
        """Add a delivery; its tag is above all earlier ones."""
        self._unsettled[tag] = None

    def settle(self, tag: int, disposition: Disposition) -> None:
        """Decide the disposition of an unsettled delivery, to be sent later."""
        del self._unsettled[tag]
        self._unsent.append((tag, disposition))

    def frames(self) -> Iterator[spec.Basic.Ack | spec.Basic.Reject]:
        """Every disposition that is not sent yet; it stays unsent until `mark_sent`.

        Acks below the oldest unsettled delivery become one with ``multiple``: a quorum queue logs each ack by
        itself, and of 200 that came at once it lost some when the channel closed right after them.
        """
        oldest_unsettled = next(iter(self._unsettled), None)
        multiple = 0
        for tag, disposition in self._unsent:
            if disposition is not Disposition.ACK:
                # Not nack, which RabbitMQ 4.3 no longer counts as an attempt.
                yield spec.Basic.Reject(tag, requeue=disposition is Disposition.REQUEUE)
            elif oldest_unsettled is None or tag < oldest_unsettled:
                multiple = max(multiple, tag)
            else:
                yield spec.Basic.Ack(tag)
        if multiple:
            yield spec.Basic.Ack(multiple, multiple=True)  # last: below it, rejects are sent already

    def mark_sent(self, count: int) -> None:
        """The first ``count`` dispositions were sent."""
        del self._unsent[:count]
