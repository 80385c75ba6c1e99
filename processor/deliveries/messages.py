"""Submitted messages as the processor handles them: which ECGs they name, and how they are given back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from shared.domain.errors import UnreadableMessageError
from shared.events import read_submitted
from shared.observability.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.events import EcgKey
    from shared.ports.broker import Delivery

# RabbitMQ makes a message a dead letter after 20 deliveries; several processors may give it back in one
# outage.
_MOST_ATTEMPTS: Final = 10

_log = Logger(__name__)


async def read_or_dead_letter(delivery: Delivery) -> set[EcgKey]:
    """The ECGs that a delivery names; none if it can't be read, and then it is dead-lettered."""
    try:
        return set(read_submitted(delivery.body))
    except UnreadableMessageError as error:
        _log.warning("a message can't be read and was dead-lettered", reason=str(error))
        await delivery.dead_letter()
        return set()


async def give_back(deliveries: Iterable[Delivery]) -> None:
    """Requeue these deliveries for another processor.

    A message that was delivered many times is acknowledged instead: it would become a dead letter, and the
    relay announces its ECGs again.
    """
    await asyncio.gather(*map(_give_back, deliveries))


async def _give_back(delivery: Delivery) -> None:
    if delivery.attempt < _MOST_ATTEMPTS:
        await delivery.requeue()
    elif await read_or_dead_letter(delivery):
        await delivery.ack()
