from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from processor.deliveries import circuit_breaker
from processor.deliveries.circuit_breaker import CircuitBreaker
from processor.deliveries.messages import give_back
from processor.insights.zero_crossings import ZERO_CROSSINGS
from processor.worker import run_processor
from shared.broker.in_process import InProcessBroker
from shared.domain.errors import UnavailableError
from shared.events import EcgKey, Event, EventType, submitted_event
from shared.ports.claim_ids import ClaimIds, new_process_id
from shared.runtime.settings import ProcessorOnlySettings
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.outbox import PostgresOutbox
from tests.support.builders import SOURCE, AnEventSource, a_submission
from tests.support.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from shared.events import EventBatch
    from shared.ports.ecgs import Claims, Settlement
    from shared.storage.pool.database import Database

_QUEUE = "processor.ecg-submitted"
_LIMIT_S = 20
_NO_RELAY_S = 60.0  # it sweeps when it begins, and not again before half of that


class Refusing(PostgresEcgStore):
    """A store that fails for one processor alone, from a given moment on, in the given methods."""

    def __init__(self, database: Database, *methods: str) -> None:
        super().__init__(database)
        self.refused = set(methods)
        self.check_notices = True
        self.asked: dict[str, asyncio.Event] = {name: asyncio.Event() for name in ("claim", "settle")}

    async def claim(self, keys: Collection[EcgKey], **options: Any) -> Claims:
        self._refuse("claim")
        return await super().claim(keys, **options)

    async def settle(self, settlements: Sequence[Settlement]) -> EventBatch:
        self._refuse("settle")
        return await super().settle(settlements)

    async def check(self) -> None:
        if self.refused and self.check_notices:
            raise UnavailableError("password authentication failed")

    def _refuse(self, method: str) -> None:
        if method in self.refused:
            self.asked[method].set()
            raise UnavailableError("password authentication failed")


class Processor:
    """A processor at work."""

    def __init__(self, working: asyncio.Task[None], stop_requested: asyncio.Event) -> None:
        self._working = working
        self._stop_requested = stop_requested

    async def leave(self) -> None:
        self._stop_requested.set()
        await self._working


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(circuit_breaker, "_CHECK_EVERY_S", 0.01)
    monkeypatch.setattr(circuit_breaker, "_FIRST_BACKOFF_S", 0.01)
    monkeypatch.setattr(circuit_breaker, "_LONGEST_BACKOFF_S", 0.01)
    monkeypatch.setattr(circuit_breaker, "_OPENS_AFTER_S", 0.1)


@pytest.fixture
def broker() -> InProcessBroker:
    broker = InProcessBroker()
    broker.bind(_QUEUE, EventType.SUBMITTED)
    broker.bind("sub.test", EventType.PROCESSED, EventType.FAILED)
    return broker


@asynccontextmanager
async def open_processor(
    store: Refusing, database: Database, broker: InProcessBroker
) -> AsyncIterator[Processor]:
    stop_requested = asyncio.Event()
    async with (
        asyncio.timeout(_LIMIT_S),
        broker.consumer(_QUEUE, prefetch=100) as consumer,
        asyncio.TaskGroup() as tasks,
    ):
        working = tasks.create_task(
            run_processor(
                ProcessorOnlySettings(relay_interval_s=_NO_RELAY_S),
                insights=[ZERO_CROSSINGS],
                store=store,
                outbox=PostgresOutbox(database),
                publisher=broker.publisher(),
                event_source=AnEventSource(),
                consumer=consumer,
                breaker=CircuitBreaker(store.check),
                claim_ids=ClaimIds(new_process_id()),
                stop_requested=stop_requested,
            )
        )
        yield Processor(working, stop_requested)
        stop_requested.set()


async def submit(store: PostgresEcgStore, broker: InProcessBroker, *ids: str) -> None:
    keys = [receipt.key for receipt in await store.add([a_submission(ecg_id) for ecg_id in ids])]
    await announce(broker, *keys)


async def announce(broker: InProcessBroker, *keys: EcgKey) -> None:
    events = [submitted_event([key], source=SOURCE, now=datetime.now(UTC)) for key in keys]
    assert await broker.publisher().publish(events) == [None] * len(keys)


async def are_completed(database: Database, count: int, attempts: int = 1) -> bool:
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT status, attempts FROM ecg")
    return [tuple(row) for row in rows] == [("completed", attempts)] * count


async def attempts_of_waiting(broker: InProcessBroker) -> list[int]:
    """How often each waiting message has been handed out, counting this time; it goes back."""
    async with broker.consumer(_QUEUE, prefetch=100) as consumer:
        return [delivery.attempt for delivery in await consumer.receive(100)]


async def test_a_processor_that_never_could_use_the_database_takes_no_message(
    database: Database, broker: InProcessBroker
) -> None:
    refused = Refusing(database, "claim", "settle")
    async with open_processor(refused, database, broker) as processor:
        await asyncio.sleep(0)  # it has begun
        await submit(PostgresEcgStore(database), broker, "1", "2")
        await asyncio.sleep(0.3)

        assert len(broker.waiting(_QUEUE)) == 2
        assert not refused.asked["claim"].is_set()
        await processor.leave()
    assert await attempts_of_waiting(broker) == [1, 1]


async def test_deliveries_that_can_not_be_claimed_are_given_back_once_and_completed_elsewhere(
    database: Database, broker: InProcessBroker
) -> None:
    store = Refusing(database)
    async with open_processor(store, database, broker):
        await submit(store, broker, "0")
        await until(lambda: are_completed(database, 1))
        store.refused = {"claim", "settle"}
        await submit(store, broker, "1", "2", "3")
        await store.asked["claim"].wait()
        async with broker.consumer(_QUEUE, prefetch=100) as witness:
            given_back = await witness.receive(100)
            while len(given_back) < 3:
                given_back += await witness.receive(100)
            assert [delivery.attempt for delivery in given_back] == [2, 2, 2]
        await asyncio.sleep(0.3)
        assert len(broker.waiting(_QUEUE)) == 3  # they are not consumed
        assert await attempts_of_waiting(broker) == [3, 3, 3]  # the witness was the second

        async with open_processor(Refusing(database), database, broker):
            await until(lambda: are_completed(database, 4))
    assert broker.dead_letters(_QUEUE) == []


async def test_it_consumes_again_when_the_database_answers(
    database: Database, broker: InProcessBroker
) -> None:
    store = Refusing(database, "claim", "settle")
    async with open_processor(store, database, broker):
        await submit(store, broker, "1")
        await asyncio.sleep(0.3)

        store.refused = set()

        await until(lambda: are_completed(database, 1))
        assert broker.waiting(_QUEUE) == []


async def test_results_are_kept_through_an_open_circuit_and_committed_when_it_is_over(
    database: Database, broker: InProcessBroker
) -> None:
    store = Refusing(database, "settle")
    store.check_notices = False
    async with open_processor(store, database, broker):
        await submit(store, broker, "1")
        await store.asked["settle"].wait()
        store.check_notices = True
        await asyncio.sleep(0.3)
        assert broker.waiting(_QUEUE) == []

        store.refused = set()
        await until(lambda: are_completed(database, 1, attempts=1))
    assert broker.waiting(_QUEUE) == []


async def test_a_processor_with_uncommitted_results_stops_at_once_while_the_database_refuses_it(
    database: Database, broker: InProcessBroker
) -> None:
    store = Refusing(database)
    async with open_processor(store, database, broker) as processor:
        await submit(store, broker, "0")
        await until(lambda: are_completed(database, 1))
        store.refused = {"settle"}
        await submit(store, broker, "1")
        await store.asked["settle"].wait()

        async with asyncio.timeout(10):  # half of what it would wait for
            await processor.leave()

    async with open_processor(Refusing(database), database, broker):
        await until(lambda: _second_is_completed(database))


async def _second_is_completed(database: Database) -> bool:
    async with database.connection() as connection:
        return bool(await connection.fetchval("SELECT status = 'completed' FROM ecg WHERE id = '1'"))


class TestGivingBackOften:
    async def test_a_message_is_acknowledged_before_the_broker_would_make_it_a_dead_letter(
        self, broker: InProcessBroker
    ) -> None:
        await announce(broker, EcgKey("ada", "1"))

        attempts = await self._given_back_for_ever(broker)

        assert attempts == list(range(1, 11))
        assert broker.waiting(_QUEUE) == broker.dead_letters(_QUEUE) == []

    async def test_a_message_that_can_not_be_read_becomes_a_dead_letter_all_the_same(
        self, broker: InProcessBroker
    ) -> None:
        event = submitted_event([EcgKey("ada", "1")], source=SOURCE, now=datetime.now(UTC))
        await broker.publisher().publish([Event(event.id, event.type, b"junk")])

        await self._given_back_for_ever(broker)

        assert broker.dead_letters(_QUEUE) == [b"junk"]

    @staticmethod
    async def _given_back_for_ever(broker: InProcessBroker) -> list[int]:
        """The attempts at which it was given back, for as long as it came again."""
        attempts = []
        async with broker.consumer(_QUEUE, prefetch=1) as consumer:
            while broker.waiting(_QUEUE):
                deliveries = await consumer.receive(1)
                attempts += [delivery.attempt for delivery in deliveries]
                await give_back(deliveries)
        return attempts
