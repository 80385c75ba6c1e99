"""The deliveries that are not acknowledged yet, and the ECGs that each of them waits for."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING

from processor.deliveries.circuit_breaker import CircuitOpenError
from processor.deliveries.messages import give_back
from shared.runtime import failpoint

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from shared.events import EcgKey
    from shared.ports.broker import Delivery


class DeliveryTracker:
    """Unacknowledged deliveries, and the unsettled ECGs that they name."""

    def __init__(self, named: Mapping[Delivery, Collection[EcgKey]]) -> None:
        self._unsettled_counts = {delivery: len(keys) for delivery, keys in named.items()}
        self._naming: dict[EcgKey, list[Delivery]] = {}
        for delivery, keys in named.items():
            for key in keys:
                self._naming.setdefault(key, []).append(delivery)
        self._excluded: set[EcgKey] = set()
        self._is_given_back = False

    @property
    def unsettled_ecgs(self) -> list[EcgKey]:
        """The ECGs that are still to be settled."""
        return list(self._naming)

    async def mark_settled(self, keys: Iterable[EcgKey]) -> None:
        """Nothing is left to do for these ECGs; acknowledge each delivery that names no unsettled one."""
        done: list[Delivery] = []
        for delivery in chain.from_iterable(self._naming.pop(key, ()) for key in keys):
            self._unsettled_counts[delivery] -= 1
            if not self._unsettled_counts[delivery]:
                done.append(delivery)
        if done:
            failpoint.reach("before-ack")
            await asyncio.gather(*(delivery.ack() for delivery in done))  # in one write

    def exclude_from_give_back(self, keys: Iterable[EcgKey]) -> None:
        """Let `give_back` keep the deliveries of these: their results are about to be committed."""
        self._excluded.update(keys)

    async def give_back(self) -> None:
        """Requeue each delivery that names an unsettled ECG, but for those that are excluded."""
        self._is_given_back = True
        given_back = self._naming.keys() - self._excluded
        await give_back({delivery for key in given_back for delivery in self._naming.pop(key)})

    def check(self) -> None:
        """Return unless deliveries were given back.

        Raises:
            CircuitOpenError: They were: begin nothing more.
        """
        if self._is_given_back:
            raise CircuitOpenError
