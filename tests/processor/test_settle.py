from __future__ import annotations

import asyncio
import json
import math
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import pytest

from processor.deliveries import settle as delivery
from processor.deliveries.circuit_breaker import CircuitBreaker
from processor.deliveries.isolation import Isolation
from processor.deliveries.pace import Pace
from processor.deliveries.settle import Dependencies, settle_deliveries
from processor.insights.zero_crossings import ZERO_CROSSINGS
from shared import relay
from shared.broker.in_process import InProcessBroker, InProcessPublisher
from shared.domain.errors import UnavailableError, UnroutableError
from shared.domain.findings import Finding, Series
from shared.domain.recording import recording_of
from shared.events import LEGACY_SOURCE, EcgKey, Event, EventType, failed_event, submitted_event
from shared.ports.ecgs import RecordingSubmission, Settlement, Status, Submission
from shared.ports.operators.operations import AuditNote, Selection
from shared.relay import _sweep, run_relay
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.operators.operations import PostgresOperations
from shared.storage.postgres.outbox import PostgresOutbox
from shared.storage.postgres.recordings import PostgresRecordingStore
from tests.support.builders import SOURCE, AnEventSource, a_lead, a_lead_insight, a_submission, an_ecg
from tests.support.logs import capture_logs
from tests.support.metrics import counting
from tests.support.polling import until
from tests.support.steady_pace import SteadyPace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence
    from uuid import UUID

    from shared.domain.ecg import Lead
    from shared.domain.insights import LeadInsight, Signal
    from shared.events import EventBatch
    from shared.ports.broker import Consumer
    from shared.ports.ecgs import Claim, Claims, EcgStore, StoredEcg
    from shared.storage.pool.database import Database

_QUEUE = "processor.ecg-submitted"
_SUBSCRIBER = "sub.test"
_LIMIT_S = 20
_MAX_ATTEMPTS = 3
_CRASHING = "crashes"
_UNKNOWN = UnavailableError("no confirm")
_TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def claim_all(store: EcgStore, keys: Collection[EcgKey]) -> list[Claim]:
    """Claim them all, tried before or not."""
    return (await store.claim(keys, claim_id=uuid4(), tried_before=True)).claimed


class RecordingStore(PostgresEcgStore):
    """Remembers how many ECGs were claimed together, and which were loaded together."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.batches: list[list[str]] = []
        self.claimed: list[int] = []
        self.loaded_later: list[str] = []

    async def claim(self, keys: Collection[EcgKey], **options: Any) -> Claims:
        self.claimed.append(len(keys))
        claims = await super().claim(keys, **options)
        if claims.loaded:
            self.batches.append(sorted(key.id for key in claims.loaded))
        return claims

    async def load(self, claims: Sequence[Claim]) -> dict[EcgKey, StoredEcg]:
        self.batches.append(sorted(claim.key.id for claim in claims))
        self.loaded_later += self.batches[-1]
        return await super().load(claims)


class SeriesStore(PostgresEcgStore):
    """Keeps series, though only in memory."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.series: list[Series] = []

    async def settle(self, settlements: Sequence[Settlement]) -> EventBatch:
        self.series += [series for settlement in settlements for series in settlement.series]
        return await super().settle([settlement._replace(series=()) for settlement in settlements])


class AwayAtFirst(PostgresEcgStore):
    """Unavailable on the first call of each method."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.asked: list[str] = []

    async def claim(self, keys: Collection[EcgKey], **options: Any) -> Claims:
        self._refuse_once("claim")
        return await super().claim(keys, **options | {"load_samples": 0})

    async def load(self, claims: Sequence[Claim]) -> dict[EcgKey, StoredEcg]:
        self._refuse_once("load")
        return await super().load(claims)

    async def settle(self, settlements: Sequence[Settlement]) -> EventBatch:
        self._refuse_once("settle")
        return await super().settle(settlements)

    async def postpone(self, keys: Collection[EcgKey], *, delay_s: float, reason: str) -> None:
        self._refuse_once("postpone")
        await super().postpone(keys, delay_s=delay_s, reason=reason)

    def _refuse_once(self, what: str) -> None:
        self.asked.append(what)
        if self.asked.count(what) == 1:
            raise UnavailableError("away")


class NotingIsolation(Isolation):
    """Remembers how it was entered."""

    def __init__(self) -> None:
        super().__init__()
        self.entered: list[str] = []

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        self.entered.append("shared")
        async with super().shared():
            yield

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        self.entered.append("exclusive")
        async with super().exclusive():
            yield


def _measure_or_crash(signal: Signal, _: Mapping[str, Finding]) -> Finding:
    if signal.lead.name == _CRASHING:
        raise ZeroDivisionError("776655")
    return Finding(signal.lead.signal.size)


def _note_thread(threads: dict[int, threading.Thread], signal: Signal, _: Mapping[str, Finding]) -> Finding:
    threads[signal.lead.signal.size] = threading.current_thread()
    return Finding(signal.lead.signal.size)


async def _turns_seen(deps: Dependencies, consumer: Consumer) -> list[int]:
    """How often another task had its turn, at each measurement."""
    turns = 0
    seen: list[int] = []

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def note_turn(signal: Signal, _: Mapping[str, Finding]) -> Finding:
        seen.append(turns)
        return Finding(signal.lead.signal.size)

    counting = asyncio.create_task(count_turns())
    await work(replace(deps, insights=[a_lead_insight("noting", note_turn)]), consumer)
    counting.cancel()
    return seen


def _opening(breaker: CircuitBreaker) -> LeadInsight:
    """While this is measured the circuit opens."""

    def measure(*_: object) -> Finding:
        breaker._is_open = True
        return Finding(0)

    return a_lead_insight("opening", measure)


_FRAGILE = a_lead_insight("fragile", _measure_or_crash)


@pytest.fixture
def broker() -> InProcessBroker:
    broker = InProcessBroker()
    broker.bind(_QUEUE, EventType.SUBMITTED)
    broker.bind(_SUBSCRIBER, EventType.PROCESSED, EventType.FAILED)
    return broker


@pytest.fixture
async def consumer(broker: InProcessBroker) -> AsyncIterator[Consumer]:
    async with broker.consumer(_QUEUE, prefetch=100) as consumer:
        yield consumer


@pytest.fixture
def deps(database: Database, broker: InProcessBroker) -> Dependencies:
    """Dependencies with an insight that raises on a lead of a certain name."""
    return Dependencies(
        store=RecordingStore(database),
        outbox=PostgresOutbox(database),
        publisher=broker.publisher(),
        event_source=AnEventSource(),
        insights=[ZERO_CROSSINGS, _FRAGILE],
        max_attempts=_MAX_ATTEMPTS,
        batch_samples=1000,
        pace=SteadyPace(ecg_s=1e-4),
    )


async def submit(
    deps: Dependencies, *ids: str, lead: Lead | None = None, traceparent: str | None = None
) -> list[EcgKey]:
    """Keep ECGs of one lead and announce each."""
    ecgs = [an_ecg(ecg_id, leads=[lead or a_lead()]) for ecg_id in ids]
    submissions = [Submission("ada", ecg, traceparent) for ecg in ecgs]
    keys = [receipt.key for receipt in await deps.store.add(submissions)]
    for key in keys:
        await announce(deps, key)
    return keys


async def submit_unannounced(deps: Dependencies, count: int) -> list[EcgKey]:
    """Keep so many ECGs."""
    submissions = [Submission("ada", an_ecg(str(number)), None) for number in range(count)]
    return [receipt.key for receipt in await deps.store.add(submissions)]


async def announce(deps: Dependencies, *keys: EcgKey) -> None:
    await deps.publisher.publish([submitted_event(keys, source=SOURCE, now=datetime.now(UTC))])


async def work(deps: Dependencies, consumer: Consumer) -> None:
    """Settle all deliveries that wait, as one batch."""
    async with asyncio.timeout(_LIMIT_S):
        await settle_deliveries(await consumer.receive(100), deps=deps)


async def states(deps: Dependencies, *ids: str) -> dict[str, Status]:
    found = await deps.store.find([("ada", ecg_id) for ecg_id in ids])
    return {state.id: state.status for state in found.values()}


async def error_of(deps: Dependencies, ecg_id: str) -> str | None:
    return (await deps.store.find([("ada", ecg_id)]))["ada", ecg_id].error


def published(broker: InProcessBroker) -> list[dict[str, Any]]:
    """The events that a subscriber received."""
    return [json.loads(body) for body in broker.waiting(_SUBSCRIBER)]


async def rows_left(database: Database) -> int:
    async with database.connection() as connection:
        left: int = await connection.fetchval("SELECT count(*) FROM outbox")
    return left


async def _outbox_is_empty(database: Database) -> bool:
    return not await rows_left(database)


async def event_ids(database: Database) -> list[UUID]:
    """The events of the only batch in the outbox."""
    async with database.connection() as connection:
        [row] = await connection.fetch("SELECT event_ids FROM outbox")
    return list(row["event_ids"])


async def damage(database: Database, ecg_id: str) -> None:
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE ecg_signal SET samples = 'x' WHERE row = (SELECT row FROM ecg WHERE id = $1)", ecg_id
        )


async def outlast_grace(database: Database) -> None:
    """Make the events in the outbox due and older than the grace of unrouted ones."""
    async with database.connection() as connection:
        await connection.execute("UPDATE outbox SET created_at = now() - interval '61 s', due_at = now()")


async def make_due(database: Database, table: str = "ecg") -> None:
    async with database.connection() as connection:
        await connection.execute(f"UPDATE {table} SET due_at = now() WHERE due_at IS NOT NULL")  # noqa: S608


@asynccontextmanager
async def open_relay(deps: Dependencies) -> AsyncIterator[None]:
    """A relay that sweeps a hundred times a second."""
    sweeping = asyncio.create_task(
        run_relay(outbox=deps.outbox, publisher=deps.publisher, event_source=AnEventSource(), interval_s=0.01)
    )
    try:
        yield
    finally:
        sweeping.cancel()
        await asyncio.wait([sweeping])


class TestReading:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"hello",
            b"{}",
            b"[]",
            b'{"specversion": "1.0", "type": "ecg.processed", "data": {"ecgs": []}}',
            b'{"specversion": "1.0", "type": "ecg.submitted", "data": {"ecgs": []}}',
            submitted_event([EcgKey("a\0", "1")], source=SOURCE, now=datetime.now(UTC)).body,
            submitted_event([EcgKey("a", "1", 2**31)], source=SOURCE, now=datetime.now(UTC)).body,
        ],
    )
    async def test_a_message_that_can_not_be_read_is_put_aside_and_the_others_are_worked_on(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer, body: bytes
    ) -> None:
        await deps.publisher.publish([Event(uuid4(), EventType.SUBMITTED, body)])
        await submit(deps, "10")

        await work(deps, consumer)

        assert broker.dead_letters(_QUEUE) == [body]
        assert await states(deps, "10") == {"10": Status.COMPLETED}

    async def test_every_delivery_is_ended(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer
    ) -> None:
        await submit(deps, "10")
        await announce(deps, EcgKey("ada", "unknown"))
        await deps.publisher.publish([Event(uuid4(), EventType.SUBMITTED, b"")])
        await work(deps, consumer)

        broker.disconnect()  # what was not ended would go back
        broker.reconnect()

        assert broker.waiting(_QUEUE) == []

    async def test_an_ecg_that_is_announced_with_others_and_alone_is_analysed_once(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer
    ) -> None:
        keys = await submit(deps, "10", "11")
        await announce(deps, *keys)

        await work(deps, consumer)

        assert sorted(event["subject"] for event in published(broker)) == ["ada/10", "ada/11"]


class TestCompleting:
    async def test_the_event_of_a_completed_ecg_has_its_insights_and_no_samples(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer, database: Database
    ) -> None:
        await submit(deps, "10", lead=a_lead("I", [7766, -7766]))

        await work(deps, consumer)

        [event] = published(broker)
        assert event["type"] == "ecg.processed"
        assert event["data"] == {
            "owner": "ada",
            "id": "10",
            "generation": 1,
            "status": "completed",
            "leads": [{"I": {"zero_crossings": 1, "fragile": 2}}],
            "insights": {"zero_crossings": 1, "fragile": 1},
        }
        assert "7766" not in json.dumps(event["data"])
        assert await rows_left(database) == 0

    async def test_series_go_to_the_store_and_into_no_document_and_no_event(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer, database: Database
    ) -> None:
        store = SeriesStore(database)
        beats = Finding(1, series={"samples": np.array([7766])})
        await submit(deps, "10")

        await work(replace(deps, store=store, insights=[a_lead_insight("beats", lambda *_: beats)]), consumer)

        assert store.series == [Series("beats", "I", {"samples": np.array([7766])})]
        [event] = published(broker)
        assert event["data"]["leads"] == [{"I": {"beats": 1}}]
        async with database.connection() as connection:
            document = await connection.fetchval("SELECT document FROM ecg_insights")
        assert json.loads(document) == {"leads": [{"I": {"beats": 1}}], "insights": {"beats": 1}}

    async def test_a_redelivery_of_a_finished_ecg_changes_nothing(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer, database: Database
    ) -> None:
        keys = await submit(deps, "10")
        await work(deps, consumer)
        await announce(deps, *keys)

        await work(deps, consumer)

        assert len(published(broker)) == 1
        assert broker.waiting(_QUEUE) == broker.dead_letters(_QUEUE) == []
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT attempts FROM ecg") == 1

    async def test_two_processors_with_the_same_ecg_publish_one_event(
        self, deps: Dependencies, broker: InProcessBroker
    ) -> None:
        keys = await submit(deps, *(str(n) for n in range(10)))
        await announce(deps, *keys)
        async with (
            broker.consumer(_QUEUE, prefetch=10) as first,
            broker.consumer(_QUEUE, prefetch=10) as second,
            asyncio.timeout(_LIMIT_S),
        ):
            deliveries = await first.receive(10), await second.receive(10)

            await asyncio.gather(*(settle_deliveries(some, deps=deps) for some in deliveries))

        assert sorted(event["subject"] for event in published(broker)) == [f"ada/{n}" for n in range(10)]

    async def test_where_another_processor_settled_first_nothing_is_left_to_publish(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer, database: Database
    ) -> None:
        class Late(RecordingStore):
            """Another settles the same just before."""

            async def settle(self, settlements: Sequence[Settlement]) -> EventBatch:
                await super().settle(settlements)
                return await super().settle(settlements)

        class Clearing(PostgresOutbox):
            times = 0

            async def clear(self, batch_ids: Collection[UUID]) -> None:
                self.times += 1
                await super().clear(batch_ids)

        outbox = Clearing(database)
        await submit(deps, "10")

        await work(replace(deps, store=Late(database), outbox=outbox), consumer)

        assert (published(broker), outbox.times, await rows_left(database)) == ([], 0, 1)

    async def test_the_event_id_is_the_same_however_often_it_is_published(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer, database: Database
    ) -> None:
        class Forgetful(PostgresOutbox):
            async def clear(self, batch_ids: Collection[Any]) -> None:
                """The process died before it could."""

        await submit(deps, "10")
        await work(replace(deps, outbox=Forgetful(database)), consumer)
        await make_due(database, "outbox")

        async with open_relay(deps):
            await until(lambda: len(published(broker)) == 2)

        first, second = published(broker)
        assert first == second

    async def test_the_event_of_the_next_generation_has_an_id_of_its_own(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer, database: Database
    ) -> None:
        await submit(deps, "10")
        await work(deps, consumer)
        async with database.connection() as connection:
            await connection.execute(
                "UPDATE ecg SET generation = 2, status = 'queued', due_at = now(), finished_at = NULL"
            )
        await announce(deps, EcgKey("ada", "10", 1), EcgKey("ada", "10", 2))

        await work(deps, consumer)

        first, second = published(broker)
        assert (first["data"]["generation"], second["data"]["generation"]) == (1, 2)
        assert first["id"] != second["id"]

    async def test_without_the_broker_the_result_is_kept_and_published_by_the_relay(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer, database: Database
    ) -> None:
        await submit(deps, "10")
        async with asyncio.timeout(_LIMIT_S):
            deliveries = await consumer.receive(100)
            broker.disconnect()
            await settle_deliveries(deliveries, deps=deps)
        assert await states(deps, "10") == {"10": Status.COMPLETED}
        assert await rows_left(database) == 1

        broker.reconnect()
        await make_due(database, "outbox")
        async with open_relay(deps):
            await until(lambda: len(published(broker)) == 1)
            await until(partial(_outbox_is_empty, database))

    async def test_an_outage_of_storage_is_waited_for(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer, database: Database
    ) -> None:
        away = AwayAtFirst(database)
        await submit(deps, "10")

        await work(replace(deps, store=away), consumer)

        assert away.asked == ["claim", "claim", "load", "load", "settle", "settle"]
        assert len(published(broker)) == 1

    async def test_so_it_is_when_the_source_of_events_is_asked_for(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer
    ) -> None:
        class Away(AnEventSource):
            times_asked = 0

            async def uri(self) -> str:
                self.times_asked += 1
                if self.times_asked == 1:
                    raise UnavailableError("away")
                return await super().uri()

        await submit(deps, "10")

        await work(replace(deps, event_source=Away()), consumer)

        assert [event["source"] for event in published(broker)] == [SOURCE]

    async def test_an_outage_of_storage_while_an_ecg_is_postponed_is_waited_for(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer, database: Database
    ) -> None:
        away = AwayAtFirst(database)
        await submit(deps, "10")
        await submit(deps, "bad", lead=a_lead(_CRASHING))

        await work(replace(deps, store=away), consumer)

        assert away.asked.count("postpone") == 2
        assert await states(deps, "10", "bad") == {"10": "completed", "bad": "queued"}
        assert [event["subject"] for event in published(broker)] == ["ada/10"]

    @pytest.mark.parametrize("is_logged", [False, True])
    async def test_an_outage_of_storage_while_events_are_cleared_leaves_them_to_the_relay(
        self,
        deps: Dependencies,
        broker: InProcessBroker,
        consumer: Consumer,
        database: Database,
        *,
        is_logged: bool,
    ) -> None:
        class Away(PostgresOutbox):
            async def clear(self, batch_ids: Collection[UUID]) -> None:
                raise UnavailableError(f"{len(batch_ids)} can't be cleared", is_logged=is_logged)

        await submit(deps, "10")

        with capture_logs() as records:
            await work(replace(deps, outbox=Away(database)), consumer)

        expected = [] if is_logged else ["1 can't be cleared"]
        assert [record["reason"] for record in records if record["level"] == "warning"] == expected
        assert await rows_left(database) == 1
        broker.disconnect()
        broker.reconnect()
        assert broker.waiting(_QUEUE) == []  # the delivery was acknowledged all the same


class TestTraces:
    @pytest.mark.parametrize("lead", ["I", _CRASHING])
    async def test_the_event_of_an_ecg_carries_the_trace_of_its_sender(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer, lead: str
    ) -> None:
        await submit(deps, "10", lead=a_lead(lead), traceparent=_TRACEPARENT)

        await work(replace(deps, max_attempts=1), consumer)

        assert [event["traceparent"] for event in published(broker)] == [_TRACEPARENT]

    async def test_so_it_is_when_it_was_given_up(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer
    ) -> None:
        keys = await submit(deps, "10", traceparent=_TRACEPARENT)
        for _ in range(_MAX_ATTEMPTS):
            await claim_all(deps.store, keys)  # and the processor died

        await work(deps, consumer)

        assert [(event["type"], event["traceparent"]) for event in published(broker)] == [
            ("ecg.failed", _TRACEPARENT)
        ]


class TestFailing:
    async def test_an_insight_that_raises_is_tried_again_later(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer, database: Database
    ) -> None:
        await submit(deps, "bad", lead=a_lead(_CRASHING))

        with capture_logs() as records:
            await work(deps, consumer)

        [record] = records
        assert record["message"] == "an analysis failed and will be tried again"
        assert (record["ecg"], record["generation"], record["attempt"]) == ("ada/bad", 1, 1)
        assert record["reason"] == "fragile of lead crashes could not be measured: ZeroDivisionError"
        assert record["delay_s"] > 0
        assert await states(deps, "bad") == {"bad": Status.QUEUED}
        assert published(broker) == []
        assert broker.waiting(_QUEUE) == broker.dead_letters(_QUEUE) == []
        async with database.connection() as connection:
            due_in_s = await connection.fetchval("SELECT extract(epoch FROM due_at - now()) FROM ecg")
        assert due_in_s <= 1  # the first was 10 s

    async def test_the_other_ecgs_of_its_batch_are_completed(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer
    ) -> None:
        await submit(deps, "1")
        await submit(deps, "bad", lead=a_lead(_CRASHING))
        await submit(deps, "2")

        await work(deps, consumer)

        assert await states(deps, "1", "bad", "2") == {"1": "completed", "bad": "queued", "2": "completed"}
        assert sorted(event["subject"] for event in published(broker)) == ["ada/1", "ada/2"]

    async def test_the_relay_offers_it_until_it_fails_with_one_event(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer, database: Database
    ) -> None:
        await submit(deps, "bad", lead=a_lead(_CRASHING))

        await work(deps, consumer)
        async with open_relay(deps):
            for _ in range(_MAX_ATTEMPTS - 1):
                await make_due(database)
                await work(deps, consumer)

        [event] = published(broker)
        why = "fragile of lead crashes could not be measured: ZeroDivisionError"
        assert event["type"] == "ecg.failed"
        assert event["data"] == {
            "owner": "ada",
            "id": "bad",
            "generation": 1,
            "status": "failed",
            "error": why,
        }
        assert await error_of(deps, "bad") == why

    async def test_an_ecg_that_killed_its_processors_is_given_up_without_another_look(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer
    ) -> None:
        keys = await submit(deps, "deadly")
        for _ in range(_MAX_ATTEMPTS):
            await claim_all(deps.store, keys)  # and the processor died

        with capture_logs() as records:
            await work(deps, consumer)

        of_ecg = [(each["message"], each["attempt"], each["level"]) for each in records if "ecg" in each]
        assert of_ecg == [
            ("an ECG that was tried before is analysed alone", _MAX_ATTEMPTS + 1, "info"),
            ("an ECG failed", _MAX_ATTEMPTS + 1, "warning"),
        ]
        assert isinstance(deps.store, RecordingStore)
        assert deps.store.batches == []
        assert await error_of(deps, "deadly") == f"Given up after {_MAX_ATTEMPTS} attempts."
        assert [event["type"] for event in published(broker)] == ["ecg.failed"]

    async def test_a_damaged_ecg_fails_at_once(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer, database: Database
    ) -> None:
        await submit(deps, "10", "11")
        await damage(database, "10")

        await work(deps, consumer)

        assert await states(deps, "10", "11") == {"10": "failed", "11": "completed"}
        assert await error_of(deps, "10") == (
            "The stored signals should be 3 samples and are 1 bytes of int16le."
        )
        assert sorted(event["type"] for event in published(broker)) == ["ecg.failed", "ecg.processed"]

    async def test_a_damaged_recording_fails_alone(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer, database: Database
    ) -> None:
        recordings = PostgresRecordingStore(database)
        for ecg_id in ("1", "2", "3"):
            recording = recording_of(an_ecg(ecg_id), block_samples=2)
            await announce(deps, (await recordings.add(RecordingSubmission("ada", recording))).key)
        async with database.connection() as connection:
            await connection.execute(
                "UPDATE recording_part SET samples = 'x' WHERE recording ="
                " (SELECT recording.id FROM recording JOIN ecg USING (row) WHERE ecg.id = '2')"
            )

        await work(deps, consumer)

        assert await states(deps, "1", "2", "3") == {"1": "completed", "2": "failed", "3": "completed"}
        assert (
            await error_of(deps, "2") == "The stored signals should be 2 samples and are 1 bytes of int16le."
        )
        assert sorted((event["subject"], event["type"]) for event in published(broker)) == [
            ("ada/1", "ecg.processed"),
            ("ada/2", "ecg.failed"),
            ("ada/3", "ecg.processed"),
        ]

    @pytest.mark.parametrize("value", [np.int64(1), {1: 2}, object(), 2**70])
    async def test_a_finding_that_json_can_not_carry_is_a_failure_of_its_insight(
        self, deps: Dependencies, consumer: Consumer, value: Any
    ) -> None:
        strange = a_lead_insight("strange", lambda *_: Finding(value))
        await submit(deps, "10")

        await work(replace(deps, insights=[strange], max_attempts=1), consumer)

        assert await error_of(deps, "10") == "strange of lead I could not be measured: TypeError"

    async def test_an_ecg_that_was_erased_in_between_is_let_go(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer, database: Database
    ) -> None:
        await submit(deps, "10", "11")

        class Erasing(PostgresEcgStore):
            async def claim(self, keys: Collection[EcgKey], **options: Any) -> Claims:
                claims = await super().claim(keys, **options | {"load_samples": 0})
                async with database.connection() as connection:
                    await connection.execute("DELETE FROM ecg WHERE id = '10'")
                return claims

        await work(replace(deps, store=Erasing(database)), consumer)

        assert await states(deps, "10", "11") == {"11": "completed"}
        assert [event["subject"] for event in published(broker)] == ["ada/11"]


class TestMeasuring:
    async def test_a_long_ecg_is_measured_in_a_thread_and_a_short_one_is_not(
        self, deps: Dependencies, consumer: Consumer
    ) -> None:
        threads: dict[int, threading.Thread] = {}
        noting = a_lead_insight("noting", partial(_note_thread, threads))
        await submit(deps, "short", lead=a_lead(signal=[1] * 500_000))
        await submit(deps, "long", lead=a_lead(signal=[1] * 500_001))

        await work(replace(deps, insights=[noting]), consumer)

        assert await states(deps, "short", "long") == {"short": "completed", "long": "completed"}
        assert threads[500_000] is threading.main_thread()
        assert threads[500_001] is not threading.main_thread()

    async def test_the_results_of_the_ecgs_around_a_long_one_are_kept(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer
    ) -> None:
        for ecg_id, num_samples in (("before", 3), ("long", 500_001), ("after", 5)):
            await submit(deps, ecg_id, lead=a_lead(signal=[1, -1, *[1] * (num_samples - 2)]))

        await work(replace(deps, batch_samples=1_000_000), consumer)

        assert isinstance(deps.store, RecordingStore)
        assert deps.store.batches == [["after", "before", "long"]]
        found = {
            event["data"]["id"]: event["data"]["leads"][0]["I"]["fragile"] for event in published(broker)
        }
        assert found == {"before": 3, "long": 500_001, "after": 5}

    async def test_slow_ecgs_are_measured_in_a_thread(self, deps: Dependencies, consumer: Consumer) -> None:
        threads: dict[int, threading.Thread] = {}
        noting = a_lead_insight("noting", partial(_note_thread, threads))
        await submit(deps, "short", lead=a_lead(signal=[1] * 3))

        await work(replace(deps, insights=[noting], pace=SteadyPace(ecg_s=0.2)), consumer)

        assert threads[3] is not threading.main_thread()

    async def test_few_slow_ecgs_are_claimed_and_committed_at_once(
        self, deps: Dependencies, consumer: Consumer
    ) -> None:
        await submit(deps, "1", "2", "3", "4", "5")

        await work(replace(deps, pace=SteadyPace(ecg_s=0.2)), consumer)

        assert isinstance(deps.store, RecordingStore)
        assert deps.store.claimed == [2, 2, 1]
        assert await states(deps, "1", "5") == {"1": "completed", "5": "completed"}

    async def test_slow_ecgs_of_one_message_are_announced_anew_for_other_processors(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer
    ) -> None:
        keys = await submit_unannounced(deps, 20)
        await announce(deps, *keys)

        await work(replace(deps, pace=SteadyPace(ecg_s=0.2)), consumer)
        broker.disconnect()  # what is not acknowledged would be redelivered
        broker.reconnect()

        offered = [json.loads(body)["data"]["ecgs"] for body in broker.waiting(_QUEUE)]
        assert list(map(len, offered)) == [2] * 8
        assert len(published(broker)) == 2 + 2
        assert {each["id"] for part in offered for each in part}.isdisjoint(
            event["data"]["id"] for event in published(broker)
        )

    async def test_slow_ecgs_that_can_not_be_announced_anew_are_settled_here(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer
    ) -> None:
        keys = await submit_unannounced(deps, 20)
        await announce(deps, *keys)
        async with asyncio.timeout(_LIMIT_S):
            deliveries = await consumer.receive(100)
            broker.disconnect()
            await settle_deliveries(deliveries, deps=replace(deps, pace=SteadyPace(ecg_s=0.2)))

        ids = [key.id for key in keys]
        assert await states(deps, *ids) == dict.fromkeys(ids, "completed")

    async def test_one_ecg_shows_how_long_they_take(self, deps: Dependencies, consumer: Consumer) -> None:
        pace = Pace()
        await submit(deps, "1", "2")

        await work(replace(deps, pace=pace), consumer)

        assert isinstance(deps.store, RecordingStore)
        assert deps.store.claimed == [1, 1]
        assert pace.ecgs_to_claim(512) > 1

    async def test_ecgs_that_are_slower_than_expected_let_other_tasks_in(
        self, deps: Dependencies, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(delivery, "_INLINE_S", 0.0)
        await submit(deps, "1", "2", lead=a_lead(signal=[1] * 3))

        seen = await _turns_seen(deps, consumer)

        assert seen[0] < seen[1]

    async def test_the_event_loop_runs_other_tasks_within_a_batch(
        self, deps: Dependencies, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(delivery, "_INLINE_S", math.inf)
        for n in range(3):
            await submit(deps, str(n), lead=a_lead(signal=[1] * 200_000))

        seen = await _turns_seen(replace(deps, batch_samples=1_000_000), consumer)

        assert seen[0] == seen[1] < seen[2]  # two are 400,000 samples, three would be too many at once

    async def test_no_time_passes_between_the_parts_of_a_batch(
        self, deps: Dependencies, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(delivery, "_INLINE_SAMPLES", 3)
        ids = [str(number) for number in range(_LIMIT_S + 1)]
        await submit(deps, *ids)

        await work(deps, consumer)  # within so many seconds

        assert await states(deps, *ids) == dict.fromkeys(ids, "completed")


class TestBatches:
    async def test_first_attempts_are_analysed_together(self, deps: Dependencies, consumer: Consumer) -> None:
        await submit(deps, "1", "2", "3")

        await work(deps, consumer)

        assert isinstance(deps.store, RecordingStore)
        assert deps.store.batches == [["1", "2", "3"]]

    async def test_an_ecg_that_was_attempted_before_is_analysed_alone(
        self, deps: Dependencies, consumer: Consumer
    ) -> None:
        keys = await submit(deps, "1", "2", "3")
        await claim_all(deps.store, keys[1:2])

        await work(deps, consumer)

        assert isinstance(deps.store, RecordingStore)
        assert sorted(deps.store.batches) == [["1", "3"], ["2"]]

    async def test_what_was_attempted_before_is_loaded_once_that_attempt_is_counted(
        self, deps: Dependencies, consumer: Consumer
    ) -> None:
        keys = await submit(deps, "1", "2", lead=a_lead(signal=[1]))
        await claim_all(deps.store, keys[1:])

        await work(deps, consumer)

        assert isinstance(deps.store, RecordingStore)
        assert deps.store.loaded_later == ["2"]

    async def test_retries_are_isolated_and_first_attempts_share_the_process(
        self, deps: Dependencies, consumer: Consumer
    ) -> None:
        keys = await submit(deps, "1", "2")
        await claim_all(deps.store, keys[1:])
        isolation = NotingIsolation()

        await work(replace(deps, isolation=isolation), consumer)

        assert isolation.entered == ["shared", "exclusive"]
        assert await states(deps, "1", "2") == {"1": "completed", "2": "completed"}

    async def test_a_retry_that_another_processor_finished_first_is_skipped(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer, database: Database
    ) -> None:
        class Finished(PostgresEcgStore):
            async def claim(self, keys: Collection[EcgKey], **options: Any) -> Claims:
                claims = await super().claim(keys, **options)
                return claims._replace(claimed=[], loaded={}) if options["tried_before"] else claims

        await claim_all(deps.store, await submit(deps, "1"))

        await work(replace(deps, store=Finished(database)), consumer)

        broker.disconnect()
        broker.reconnect()
        assert broker.waiting(_QUEUE) == []

    async def test_deliveries_are_given_back_while_the_circuit_is_open(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer
    ) -> None:
        await submit(deps, "1", "2")
        breaker = CircuitBreaker()
        breaker._is_open = True

        await work(replace(deps, breaker=breaker), consumer)

        assert len(broker.waiting(_QUEUE)) == 2
        assert await states(deps, "1", "2") == {"1": "queued", "2": "queued"}

    async def test_the_circuit_can_give_back_unsettled_deliveries(
        self, deps: Dependencies, consumer: Consumer
    ) -> None:
        breaker = CircuitBreaker()
        registered: list[int] = []

        class Looking(PostgresEcgStore):
            async def claim(self, keys: Collection[EcgKey], **options: Any) -> Claims:
                registered.append(len(breaker._give_back_callbacks))
                return await super().claim(keys, **options)

        await submit(deps, "1")
        assert isinstance(deps.store, RecordingStore)

        await work(replace(deps, breaker=breaker, store=Looking(deps.store._database)), consumer)

        assert (registered, len(breaker._give_back_callbacks)) == ([1], 0)

    @pytest.mark.parametrize("lead", ["I", _CRASHING])
    async def test_results_wait_for_the_store_through_an_open_circuit(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer, lead: str
    ) -> None:
        breaker = CircuitBreaker()
        await submit(deps, "1", "2", lead=a_lead(lead))

        await work(
            replace(deps, breaker=breaker, insights=[_opening(breaker), *deps.insights], max_attempts=2),
            consumer,
        )

        broker.disconnect()  # what is not acknowledged comes again
        broker.reconnect()
        assert await states(deps, "1", "2") == dict.fromkeys("12", "completed" if lead == "I" else "queued")
        assert broker.waiting(_QUEUE) == []

    async def test_an_ecg_that_can_not_be_loaded_is_given_back_when_the_circuit_opens(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer
    ) -> None:
        class Away(RecordingStore):
            """Unavailable until the circuit has opened."""

            async def load(self, claims: Sequence[Claim]) -> dict[EcgKey, StoredEcg]:
                if not breaker._is_open:
                    await breaker._open(consumer)
                    raise UnavailableError("away")
                return await super().load(claims)

        breaker = CircuitBreaker()
        assert isinstance(deps.store, RecordingStore)
        await submit(deps, "10", lead=a_lead(signal=[1] * 1001))  # more than come with a claim

        await work(replace(deps, breaker=breaker, store=Away(deps.store._database)), consumer)

        assert await states(deps, "10") == {"10": "queued"}
        assert len(broker.waiting(_QUEUE)) == 1

    async def test_results_wait_for_nothing_any_more_while_the_process_drains(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer
    ) -> None:
        class Away(AnEventSource):
            async def uri(self) -> str:
                is_asked.set()
                raise UnavailableError("away")

        is_asked = asyncio.Event()
        breaker = CircuitBreaker()
        await submit(deps, "1")
        at_work = asyncio.create_task(
            work(replace(deps, breaker=breaker, insights=[_opening(breaker)], event_source=Away()), consumer)
        )
        await is_asked.wait()

        breaker.stop_holding_results()

        await at_work
        broker.disconnect()  # as its end does
        broker.reconnect()
        assert len(broker.waiting(_QUEUE)) == 1

    async def test_an_ecg_that_can_not_be_postponed_keeps_no_process_from_draining(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer
    ) -> None:
        class Away(RecordingStore):
            async def postpone(self, *_: object, **__: object) -> None:
                is_asked.set()
                raise UnavailableError("away")

        is_asked, breaker = asyncio.Event(), CircuitBreaker()
        assert isinstance(deps.store, RecordingStore)
        store, insights = Away(deps.store._database), [_opening(breaker), *deps.insights]
        await submit(deps, "bad", lead=a_lead(_CRASHING))
        at_work = asyncio.create_task(
            work(replace(deps, breaker=breaker, insights=insights, store=store), consumer)
        )
        await is_asked.wait()

        breaker.stop_holding_results()

        await at_work
        broker.disconnect()  # as its end does
        broker.reconnect()
        assert len(broker.waiting(_QUEUE)) == 1

    @pytest.mark.parametrize("ecgs_at_a_time", [1, 2])
    async def test_what_was_given_back_meanwhile_is_not_begun_any_more(
        self,
        deps: Dependencies,
        broker: InProcessBroker,
        consumer: Consumer,
        monkeypatch: pytest.MonkeyPatch,
        ecgs_at_a_time: int,
    ) -> None:
        class Opening(RecordingStore):
            """PostgreSQL is away for long enough when a result is to be committed, and back then."""

            async def settle(self, settlements: Sequence[Settlement]) -> EventBatch:
                await asyncio.gather(*(give_back_all() for give_back_all in breaker._give_back_callbacks))
                return await super().settle(settlements)

        monkeypatch.setattr(delivery, "_BATCH_ECGS", ecgs_at_a_time)
        breaker = CircuitBreaker()
        assert isinstance(deps.store, RecordingStore)
        store = Opening(deps.store._database)
        await submit(deps, "1", "2", lead=a_lead(signal=[1] * 1000))

        await work(replace(deps, breaker=breaker, store=store), consumer)

        [measured] = published(broker)
        [waiting] = broker.waiting(_QUEUE)
        [given_back] = json.loads(waiting)["data"]["ecgs"]
        assert {measured["data"]["id"], given_back["id"]} == {"1", "2"}
        assert store.claimed == [ecgs_at_a_time]

    async def test_no_more_ecgs_are_claimed_than_are_analysed_together(
        self, deps: Dependencies, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(delivery, "_BATCH_ECGS", 2)
        await submit(deps, "1", "2", "3")
        await submit(deps, "4", "5")
        assert isinstance(deps.store, RecordingStore)

        await work(deps, consumer)

        assert deps.store.claimed == [2, 2, 1]
        assert list(map(len, deps.store.batches)) == [2, 2, 1]

    async def test_a_message_ends_when_the_last_of_its_ecgs_has(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(delivery, "_BATCH_ECGS", 1)
        keys = await submit(deps, "1", "2")
        await announce(deps, *keys, *keys)
        await claim_all(deps.store, keys[1:])

        await work(deps, consumer)
        broker.disconnect()
        broker.reconnect()

        assert broker.waiting(_QUEUE) == []

    async def test_a_batch_may_be_full_to_the_last_sample(
        self, deps: Dependencies, consumer: Consumer
    ) -> None:
        await submit(deps, "1", "2", "3", "4", lead=a_lead(signal=[1] * 500))

        await work(deps, consumer)

        assert isinstance(deps.store, RecordingStore)
        assert list(map(len, deps.store.batches)) == [2, 2]

    async def test_a_batch_holds_no_more_samples_than_it_may(
        self, deps: Dependencies, consumer: Consumer
    ) -> None:
        await submit(deps, "1", "2", "3", lead=a_lead(signal=[1] * 400))
        await submit(deps, "large", lead=a_lead(signal=[1] * 1001))

        await work(deps, consumer)

        assert isinstance(deps.store, RecordingStore)
        assert sorted(map(len, deps.store.batches)) == [1, 1, 2]
        assert await states(deps, "1", "2", "3", "large") == dict.fromkeys(
            ("1", "2", "3", "large"), Status.COMPLETED
        )


class TestMetrics:
    async def test_attempts_failures_and_results_are_counted(
        self, deps: Dependencies, consumer: Consumer, database: Database
    ) -> None:
        await submit(deps, "1", "2", "damaged", "deadly")
        await submit(deps, "bad", lead=a_lead(_CRASHING))
        await damage(database, "damaged")
        for _ in range(_MAX_ATTEMPTS):
            await claim_all(deps.store, [EcgKey("ada", "deadly")])

        with counting(
            ("isoline_attempts_total", {"kind": "first"}),
            ("isoline_attempts_total", {"kind": "repeated"}),
            *(
                ("isoline_analysis_failures_total", {"reason": reason})
                for reason in ("unreadable", "insight", "attempts")
            ),
            *(("isoline_ecgs_settled_total", {"status": status}) for status in ("completed", "failed")),
        ) as counted:
            await work(deps, consumer)

        assert counted == [4, 1, 1, 1, 1, 2, 2]

    async def test_the_stages_of_a_batch_and_the_time_of_each_insight_are_measured(
        self, deps: Dependencies, consumer: Consumer
    ) -> None:
        await submit(deps, "1", "2")
        deps = replace(deps, batch_samples=0)  # so that their signals are not loaded by the claim

        with counting(
            *(
                ("isoline_stage_duration_seconds_count", {"stage": stage})
                for stage in ("claim", "load", "measure", "commit", "publish")
            ),
            ("isoline_settled_batch_ecgs_sum", {}),
            ("isoline_insight_seconds_total", {"insight": "fragile"}),
        ) as counted:
            await work(deps, consumer)

        *stages, settled, insight_s = counted
        assert stages == [1, 2, 2, 2, 2]
        assert settled == 2
        assert insight_s > 0

    async def test_latency_counts_from_the_202_and_says_nothing_of_replays(
        self, deps: Dependencies, consumer: Consumer, database: Database
    ) -> None:
        [first, second] = await submit(deps, "1", "2")
        async with database.connection() as connection:
            await connection.execute("UPDATE ecg SET submitted_at = now() - interval '40 s' WHERE id = '1'")
        series = "isoline_ecg_latency_seconds"
        bounds = [(f"{series}_bucket", {"le": bound}) for bound in ("30.0", "60.0")]

        with counting(*bounds, (f"{series}_count", {})) as counted:
            await work(deps, consumer)
        operations = PostgresOperations(database)
        await operations.replay(
            Selection(id="1"), AuditNote("ops", "test"), finished_before=await operations.now(), limit=1
        )
        with counting((f"{series}_count", {})) as counted_again:
            await announce(deps, first._replace(generation=2), second)
            await work(deps, consumer)

        assert counted == [1, 2, 2]  # within 30 s, within 60 s, all
        assert counted_again == [0]
        assert (await deps.store.find([("ada", "1")]))["ada", "1"].generation == 2


class TestRelay:
    async def test_an_ecg_that_was_never_announced_is_announced_when_it_is_due(
        self, deps: Dependencies, consumer: Consumer, broker: InProcessBroker, database: Database
    ) -> None:
        await deps.store.add([a_submission(str(n)) for n in range(130)])
        await make_due(database)

        async with open_relay(deps):
            await until(lambda: len(broker.waiting(_QUEUE)) == 3)  # of 64, 64 and 2
        await work(deps, consumer)

        assert len(published(broker)) == 130

    async def test_events_of_an_earlier_release_keep_the_ids_that_subscribers_know(
        self, deps: Dependencies, broker: InProcessBroker, database: Database
    ) -> None:
        [receipt] = await deps.store.add([a_submission("10")])
        [claim] = (await deps.store.claim([receipt.key], claim_id=uuid4())).claimed
        event = failed_event(
            receipt.key, "why", source=LEGACY_SOURCE, now=datetime.now(UTC), traceparent=None
        )
        await deps.store.settle([Settlement(claim, event, error="why")])
        async with database.connection() as connection:
            await connection.execute("UPDATE outbox SET due_at = now()")

        async with open_relay(deps):
            await until(lambda: len(broker.waiting(_SUBSCRIBER)) == 1)

        [received] = published(broker)
        assert (received["id"], received["source"]) == (str(event.id), "/isoline")

    async def test_events_name_this_installation_as_their_source(
        self, deps: Dependencies, broker: InProcessBroker, database: Database, consumer: Consumer
    ) -> None:
        await deps.store.add([a_submission("10")])
        await make_due(database)
        async with open_relay(deps):
            await until(lambda: len(broker.waiting(_QUEUE)) == 1)
            announced = json.loads(broker.waiting(_QUEUE)[0])

        await work(deps, consumer)

        assert [announced["source"], *(event["source"] for event in published(broker))] == [SOURCE, SOURCE]

    async def test_it_goes_on_after_the_broker_did_not_confirm(
        self, deps: Dependencies, broker: InProcessBroker, database: Database
    ) -> None:
        await deps.store.add([a_submission("10")])
        await make_due(database)

        with pytest.raises(UnavailableError):
            await _sweep(deps.outbox, Outcomes(_UNKNOWN), deps.event_source)
        async with database.connection() as connection:
            put_back = await connection.fetchrow("SELECT republished, due_at - now() AS left FROM ecg")
        assert put_back is not None
        assert put_back["republished"] == 0
        assert put_back["left"] <= timedelta(seconds=1)  # one that was only taken has 10 s
        await make_due(database)
        async with open_relay(deps):
            await until(lambda: len(broker.waiting(_QUEUE)) == 1)

    async def test_it_queries_nothing_while_the_broker_is_unavailable(
        self, deps: Dependencies, broker: InProcessBroker, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await deps.store.add([a_submission("10")])
        await make_due(database)
        broker.disconnect()
        asked = asyncio.Event()
        check = InProcessPublisher.check

        async def spy(publisher: InProcessPublisher) -> None:
            asked.set()
            await check(publisher)

        monkeypatch.setattr(InProcessPublisher, "check", spy)
        async with open_relay(deps), asyncio.timeout(_LIMIT_S):
            for _ in range(3):
                asked.clear()
                await asked.wait()
            assert await _num_due(database) == 1  # nor was it taken
            broker.reconnect()
            await until(lambda: len(broker.waiting(_QUEUE)) == 1)

    async def test_unrouted_events_are_dropped_after_a_grace(
        self, deps: Dependencies, consumer: Consumer, database: Database
    ) -> None:
        unbound = InProcessBroker()
        unbound.bind("nobody")
        await submit(deps, "10")
        deps = replace(deps, publisher=unbound.publisher())
        await work(deps, consumer)
        assert await rows_left(database) == 1

        await outlast_grace(database)
        async with open_relay(deps):
            await until(partial(_outbox_is_empty, database))

    async def test_of_a_batch_the_unrouted_events_stay(
        self, deps: Dependencies, broker: InProcessBroker, consumer: Consumer, database: Database
    ) -> None:
        await submit(deps, "10", "11")
        await damage(database, "11")
        half_bound = InProcessBroker()
        half_bound.bind(_SUBSCRIBER, EventType.PROCESSED)

        await work(replace(deps, publisher=half_bound.publisher()), consumer)

        assert [event["subject"] for event in published(half_bound)] == ["ada/10"]
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT array_agg(types) FROM outbox") == [["ecg.failed"]]
        await make_due(database, "outbox")
        async with open_relay(deps):
            await until(partial(_outbox_is_empty, database))
        assert [event["subject"] for event in published(broker)] == ["ada/11"]

    async def test_of_a_batch_published_in_part_the_rest_is_kept_whatever_its_age(
        self, deps: Dependencies, consumer: Consumer, database: Database
    ) -> None:
        [_, *rest] = await self._unpublished(deps, consumer, database)

        await _sweep(
            deps.outbox, Outcomes(None, _UNKNOWN, UnroutableError("nobody is bound")), AnEventSource()
        )

        assert await event_ids(database) == rest

    async def test_a_sweep_is_full_by_its_events(
        self, deps: Dependencies, consumer: Consumer, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(relay, "_PAGE", 3)
        await self._unpublished(deps, consumer, database)

        assert [await _sweep(deps.outbox, Outcomes(None, None, None), AnEventSource()) for _ in range(2)] == [
            True,
            False,
        ]

    @staticmethod
    async def _unpublished(deps: Dependencies, consumer: Consumer, database: Database) -> list[UUID]:
        """The events of a batch of three that is older than the grace, and due."""
        await submit(deps, "10", "11", "12")
        await work(replace(deps, publisher=Outcomes(_UNKNOWN, _UNKNOWN, _UNKNOWN)), consumer)
        await outlast_grace(database)
        return await event_ids(database)


class Outcomes:
    """A publisher that publishes nothing and returns these outcomes."""

    def __init__(self, *outcomes: UnroutableError | UnavailableError | None) -> None:
        self._outcomes = outcomes

    async def check(self) -> None:
        pass

    async def publish(self, events: Sequence[Event]) -> list[UnroutableError | UnavailableError | None]:
        return [outcome for _, outcome in zip(events, self._outcomes, strict=True)]


async def _num_due(database: Database) -> int:
    """How many ECGs the relay may take now."""
    async with database.connection() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM ecg WHERE due_at <= now()"))
