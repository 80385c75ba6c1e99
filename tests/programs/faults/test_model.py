"""The real store, relay and delivery code, driven through crashes at every step and messages lost or doubled.

What a process holds ends with a crash; PostgreSQL and the broker go on. After every step the invariants of
the design hold, and in the end, once nothing fails any more, everything becomes terminal and its event is
received.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from unittest.mock import patch
from uuid import uuid4

import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from processor.deliveries.settle import Dependencies, settle_deliveries
from processor.insights import INSIGHTS
from shared.broker.in_process import InProcessBroker
from shared.domain.errors import UnavailableError
from shared.events import EcgKey, EventType, processed_event, submitted_event
from shared.operations.replay import replay
from shared.ports.ecgs import Settlement
from shared.ports.operators.operations import AuditNote, Selection
from shared.relay import _sweep
from shared.runtime import failpoint
from shared.storage.pool.database import open_database
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.operators.operations import PostgresOperations
from shared.storage.postgres.outbox import PostgresOutbox
from tests.support.builders import SOURCE, AnEventSource, a_lead, a_submission, an_ecg
from tests.support.databases import open_empty_database
from tests.support.steady_pace import SteadyPace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

    from shared.domain.errors import UnroutableError
    from shared.events import Event
    from shared.storage.pool.database import Database

_QUEUE: Final = "processor.ecg-submitted"
_SUBSCRIBER: Final = "subscriber"
# Zero crossings counted by hand.
_SIGNALS: Final = {"a": ((1, -1, 1), 2), "b": ((1, 0, -1), 1), "c": ((5, 5), 0), "d": ((-1, 2, -3, 4), 3)}
_POINTS: Final = (None, "after-claim", "before-commit", "after-commit", "after-event", "before-ack")
_ROUNDS: Final = 40
_WHICH: Final = st.integers(0, 7)  # of those that there are, counted round
# What the model, begun with the ECGs a and b, fails on once that is taken away which holds it.
_ONCE_FAILED: Final = {
    "the status guard and the trigger": [
        ("a_processor_freezes_with_a_result", {"which": 0, "value": 90}),
        ("process", {"limit": 1, "point": None}),
        ("a_frozen_processor_wakes_up", {}),
    ],
    "the generation guard": [
        ("a_processor_freezes_with_a_result", {"which": 0, "value": 90}),
        ("process", {"limit": 1, "point": None}),
        ("replay", {"which": 0}),
        ("a_frozen_processor_wakes_up", {}),
    ],
    "the outbox row": [
        ("process", {"limit": 1, "point": "after-commit"}),
    ],
    "the sweep of what nobody announced": [
        ("submit", {"ecg_id": "c", "crashes": True}),
    ],
    "the sweep of what was confirmed": [
        ("publishing_goes_wrong_next", {"how": "confirmed and lost"}),
        ("submit", {"ecg_id": "c", "crashes": False}),
    ],
    "the sweep of what was announced": [
        ("lose_a_message", {"which": 0}),
    ],
}

_ROWS: Final = """
SELECT id, generation, status, due_at, document FROM ecg LEFT JOIN ecg_insights USING (row, generation)
"""
_HOUR_PASSES: Final = """
WITH ecgs AS (UPDATE ecg SET due_at = due_at - interval '1 hour' WHERE status = 'queued')
UPDATE outbox SET due_at = due_at - interval '1 hour'
"""


class CrashError(BaseException):
    """The process was killed."""


class _Publisher:
    """The broker's publisher, of which one call may fail."""

    def __init__(self, broker: InProcessBroker) -> None:
        self._broker = broker
        self.next = "works"

    async def check(self) -> None:
        pass

    async def publish(self, events: Sequence[Event]) -> list[UnroutableError | UnavailableError | None]:
        how, self.next = self.next, "works"
        if how == "confirmed and lost" and {event.type for event in events} == {EventType.SUBMITTED}:
            return [None for _ in events]
        if how == "published in part":
            taken = iter(await self._broker.publisher().publish(events[::2]))
            return [UnavailableError("no confirm") if n % 2 else next(taken) for n in range(len(events))]
        outcomes = await self._broker.publisher().publish(events)
        if how == "published and unknown":
            return [UnavailableError("no confirm") for _ in events]
        return outcomes


class Model(RuleBasedStateMachine):
    """The actions that may happen, and the invariants."""

    def __init__(self, runner: asyncio.Runner, database: Database) -> None:
        super().__init__()
        self._runner = runner
        self._database = database
        self.store, self.outbox = PostgresEcgStore(database), PostgresOutbox(database)
        self.broker = InProcessBroker()
        self.broker.bind(_QUEUE, EventType.SUBMITTED)
        self.broker.bind(_SUBSCRIBER, EventType.PROCESSED, EventType.FAILED)
        self.publisher = _Publisher(self.broker)
        self.accepted: dict[str, int] = {}
        self.terminal: dict[tuple[str, int], str] = {}
        self.zombies: list[Settlement] = []
        self._run(self._execute("TRUNCATE ecg, ecg_signal, ecg_insights, outbox CASCADE"))

    @initialize()
    def two_are_there(self) -> None:
        """Submit two ECGs."""
        for ecg_id in ("a", "b"):
            self.submit(ecg_id, crashes=False)

    @rule(ecg_id=st.sampled_from(sorted(_SIGNALS)), crashes=st.booleans())
    def submit(self, ecg_id: str, crashes: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
        """Keep it, and announce it unless the gateway dies first."""
        ecg = an_ecg(ecg_id, leads=[a_lead(signal=_SIGNALS[ecg_id][0])])
        [receipt] = self._run(self.store.add([a_submission(ecg=ecg)]))
        assert receipt.is_new == (ecg_id not in self.accepted)
        self.accepted.setdefault(ecg_id, 1)
        if receipt.is_new and not crashes:
            self._run(
                self.publisher.publish([submitted_event([receipt.key], source=SOURCE, now=datetime.now(UTC))])
            )

    @rule(limit=st.integers(1, 4), point=st.sampled_from(_POINTS))
    def process(self, limit: int, point: str | None) -> None:
        """A processor takes a batch and may be killed at any point of it."""
        self._run(self._process(limit, point))

    @rule(point=st.sampled_from([None, "after-event"]))
    def relay(self, point: str | None) -> None:
        """A relay sweeps once, and may be killed."""
        self._run(self._crashing(_sweep(self.outbox, self.publisher, AnEventSource()), point))

    @rule(how=st.sampled_from(["confirmed and lost", "published and unknown", "published in part"]))
    def publishing_goes_wrong_next(self, how: str) -> None:
        """The broker loses a command that it confirmed, or a confirm is lost.

        An event that it confirmed and lost could not be repaired: the subscribers' queues are durable.
        """
        self.publisher.next = how

    @rule()
    def an_hour_passes(self) -> None:
        """Make everything due."""
        self._run(self._execute(_HOUR_PASSES))

    @precondition(lambda self: self.broker.waiting(_QUEUE))
    @rule(which=_WHICH)
    def lose_a_message(self, which: int) -> None:
        """The broker loses a message."""
        waiting = self.broker._queues[_QUEUE].waiting
        del waiting[which % len(waiting)]

    @precondition(lambda self: self.broker.waiting(_QUEUE))
    @rule(which=_WHICH)
    def double_a_message(self, which: int) -> None:
        """The broker delivers a message more than once, and out of order."""
        waiting = self.broker._queues[_QUEUE].waiting
        waiting.appendleft(waiting[which % len(waiting)])

    @rule()
    def broker_comes_or_goes(self) -> None:
        """An outage of the broker begins or ends."""
        (self.broker.disconnect if self.broker.is_connected else self.broker.reconnect)()

    @precondition(lambda self: self.accepted)
    @rule(which=_WHICH, value=st.integers(90, 99))
    def a_processor_freezes_with_a_result(self, which: int, value: int) -> None:
        """A faulty processor has claimed an ECG and measured nonsense."""
        ecg_id = self._accepted(which)
        key = EcgKey("ada", ecg_id, self.accepted[ecg_id])
        if (ecg_id, key.generation) in self.terminal:
            return
        claims = self._run(self.store.claim([key], claim_id=uuid4(), tried_before=True))
        document: Any = {"leads": [{"I": {"zero_crossings": value}}]}
        event = processed_event(key, document, source=SOURCE, now=datetime.now(UTC), traceparent=None)
        self.zombies += [Settlement(claim, event, document=document) for claim in claims.claimed]

    @precondition(lambda self: self.zombies)
    @rule()
    def a_frozen_processor_wakes_up(self) -> None:
        """It commits; ECGs that were settled meanwhile do not change."""
        zombie = self.zombies.pop(0)
        key = (zombie.claim.key.id, zombie.claim.key.generation)
        if key in self.terminal:
            assert self._run(self.store.settle([zombie])).events == []

    @precondition(lambda self: self.accepted)
    @rule(which=_WHICH)
    def replay(self, which: int) -> None:
        """An operator has a finished ECG analysed again."""
        ecg_id = self._accepted(which)
        operations = PostgresOperations(self._database)
        for key in self._run(replay(Selection(id=ecg_id), AuditNote("ada", "model"), operations=operations)):
            assert key.generation == self.accepted[ecg_id] + 1
            self.accepted[ecg_id] = key.generation

    @invariant()
    def nothing_is_lost_or_wrong(self) -> None:
        """I1 to I4, as far as they hold before quiet."""
        rows, unpublished = self._run(self._state())
        received = [orjson.loads(body) for body in self.broker.waiting(_SUBSCRIBER)]
        ids: dict[tuple[str, int], set[str]] = {}
        for event in [*received, *unpublished]:
            data = event["data"]
            ids.setdefault((data["id"], data["generation"]), set()).add(event["id"])
        assert all(len(distinct) == 1 for distinct in ids.values())
        assert {ecg_id: row["generation"] for ecg_id, row in rows.items()} == self.accepted
        for ecg_id, row in rows.items():
            key = (ecg_id, row["generation"])
            if row["status"] == "queued":
                assert key not in self.terminal
                assert row["document"] is None
                assert key not in ids
                continue
            assert self.terminal.setdefault(key, row["document"]) == row["document"]
            found = orjson.loads(row["document"])["leads"][0]["I"]["zero_crossings"]
            assert (row["status"], found) == ("completed", _SIGNALS[ecg_id][1])
            assert key in ids

    def teardown(self) -> None:
        """Without failures every ECG becomes terminal, its event is published and nothing is left over."""
        self.publisher.next = "works"
        self.broker.reconnect()
        for _ in range(_ROUNDS):
            if not self._is_busy():
                break
            self.an_hour_passes()
            self.relay(None)
            while self.broker.waiting(_QUEUE):
                self.process(4, None)
        self.nothing_is_lost_or_wrong()
        while self.zombies:
            self.a_frozen_processor_wakes_up()
        rows, unpublished = self._run(self._state())
        assert not unpublished
        assert {row["status"] for row in rows.values()} <= {"completed"}
        self.nothing_is_lost_or_wrong()

    def _accepted(self, which: int) -> str:
        return sorted(self.accepted)[which % len(self.accepted)]

    def _is_busy(self) -> bool:
        rows, unpublished = self._run(self._state())
        return bool(unpublished) or any(row["status"] == "queued" for row in rows.values())

    async def _process(self, limit: int, point: str | None) -> None:
        deps = Dependencies(
            store=self.store,
            outbox=self.outbox,
            publisher=self.publisher,
            event_source=AnEventSource(),
            insights=INSIGHTS,
            max_attempts=1000,
            batch_samples=4,
            pace=SteadyPace(ecg_s=1e-4),
        )
        if not (self.broker.is_connected and self.broker.waiting(_QUEUE)):
            return
        async with self.broker.consumer(_QUEUE, prefetch=limit) as consumer:
            deliveries = await consumer.receive(limit)
            await self._crashing(settle_deliveries(deliveries, deps=deps), point)

    async def _crashing(self, work: Coroutine[Any, Any, object], point: str | None) -> None:
        def reach(name: str) -> None:
            if name == point:
                raise CrashError

        with patch.object(failpoint, "reach", reach), suppress(CrashError, UnavailableError):
            await work

    async def _state(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_ROWS)
            unpublished = await connection.fetch("SELECT unnest(bodies) AS body FROM outbox")
        return {row["id"]: row for row in rows}, [orjson.loads(row["body"]) for row in unpublished]

    async def _execute(self, sql: str) -> None:
        async with self._database.connection() as connection:
            await connection.execute(sql)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(work)


@pytest.fixture
def model(postgres_url: str, template_database: str) -> Iterator[Callable[[], Model]]:
    with asyncio.Runner() as runner:
        url_context = open_empty_database(postgres_url, template=template_database)
        url = runner.run(url_context.__aenter__())
        database_context = open_database(url, max_connections=2)
        database = runner.run(database_context.__aenter__())
        try:
            yield partial(Model, runner, database)
        finally:
            runner.run(database_context.__aexit__(None, None, None))
            runner.run(url_context.__aexit__(None, None, None))


def test_no_order_of_crashes_and_losses_breaks_an_invariant(model: Callable[[], Model]) -> None:
    run_state_machine_as_test(
        model,  # type: ignore[arg-type]
        settings=settings(
            max_examples=60,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("steps", _ONCE_FAILED.values(), ids=_ONCE_FAILED)
def test_what_once_failed_holds(model: Callable[[], Model], steps: list[tuple[str, dict[str, Any]]]) -> None:
    state = model()
    state.two_are_there()

    for rule_, arguments in steps:
        getattr(state, rule_)(**arguments)
        state.nothing_is_lost_or_wrong()
    state.teardown()
