"""Prefetch by pace: a processor holds no more messages than it settles within moments."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from processor.deliveries.pace import Pace
    from shared.ports.broker import Consumer


class Prefetch:
    """Sets a consumer's prefetch by the pace, from one message for each concurrent batch up to ``most``."""

    def __init__(self, consumer: Consumer, pace: Pace, *, most: int, concurrency: int) -> None:
        self.consumer = consumer
        self._pace = pace
        self._most = most
        self._concurrency = concurrency
        self._messages = 0

    @property
    def batch_messages(self) -> int:
        """How many of the messages one of the concurrent batches may take."""
        return max(self._messages // self._concurrency, 1)

    async def adjust(self) -> None:
        """Set it anew if the pace asks for twice as many, for half of them, or for an end of the range.

        Each time the broker is asked to stop and to begin again.
        """
        wanted = self._pace.messages_to_hold(self._most, concurrency=self._concurrency)
        is_small_step = self._messages < 2 * wanted and wanted < 2 * self._messages
        is_at_end = wanted in {self._most, min(self._concurrency, self._most)}
        if wanted != self._messages and (is_at_end or not is_small_step):
            self._messages = wanted
            await self.consumer.set_prefetch(wanted)
