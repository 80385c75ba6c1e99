"""A processor's delivery code on a real database, without a broker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.outbox import PostgresOutbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.domain.errors import UnavailableError, UnroutableError
    from shared.events import Event
    from shared.storage.pool.database import Database


@dataclass(eq=False, slots=True)
class HandedOver:
    """A `shared.ports.broker.Delivery` that remembers how it ended."""

    body: bytes
    attempt: int = 1
    ended: list[str] = field(default_factory=list)

    async def ack(self) -> None:
        self.ended.append("ack")

    async def requeue(self) -> None:
        self.ended.append("requeue")

    async def dead_letter(self) -> None:
        self.ended.append("dead")


class Listener:
    """A `shared.ports.broker.Publisher` that takes everything and remembers it."""

    def __init__(self) -> None:
        self.received: list[Event] = []

    async def check(self) -> None:
        pass

    async def publish(self, events: Sequence[Event]) -> list[UnroutableError | UnavailableError | None]:
        self.received += events
        return [None for _ in events]


@pytest.fixture
def store(database: Database) -> PostgresEcgStore:
    return PostgresEcgStore(database)


@pytest.fixture
def outbox(database: Database) -> PostgresOutbox:
    return PostgresOutbox(database)


@pytest.fixture
def listener() -> Listener:
    return Listener()
