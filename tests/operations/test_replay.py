"""Replay, from the selection to the record of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import orjson
import pytest
from typer.testing import CliRunner

from isoline.cli.app import app
from processor.deliveries.circuit_breaker import CircuitBreaker
from processor.insights.zero_crossings import ZERO_CROSSINGS
from processor.worker import run_processor
from shared.broker.in_process import InProcessBroker
from shared.events import EcgKey, EventType, deleted_event, failed_event, processed_event
from shared.operations.replay import replay
from shared.ports.claim_ids import ClaimIds, new_process_id
from shared.ports.ecgs import Settlement
from shared.ports.operators.operations import AuditNote, Selection
from shared.runtime.settings import ProcessorOnlySettings
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.operators.operations import PostgresOperations
from shared.storage.postgres.outbox import PostgresOutbox
from shared.storage.postgres.owned_ecgs import PostgresOwnedEcgs
from tests.support.builders import SOURCE, AnEventSource, a_submission
from tests.support.polling import until

if TYPE_CHECKING:
    from shared.storage.pool.database import Database

_QUEUE: Final = "processor.ecg-submitted"
_NOTE: Final = AuditNote("ada", "a better insight")


async def a_finished_ecg(
    database: Database, ecg_id: str, *, error: str | None = None, is_there: bool = False
) -> None:
    store, key = PostgresEcgStore(database), EcgKey("ada", ecg_id)
    if not is_there:
        await store.add([a_submission(ecg_id)])
    [claim] = (await store.claim([key], claim_id=uuid4())).claimed
    now = datetime.now(UTC)
    if error is None:
        event = processed_event(key, {}, source=SOURCE, now=now, traceparent=None)
        await store.settle([Settlement(claim, event, document={"leads": []})])
    else:
        event = failed_event(key, error, source=SOURCE, now=now, traceparent=None)
        await store.settle([Settlement(claim, event, error=error)])


async def rows(database: Database) -> dict[str, tuple[str, int]]:
    async with database.connection() as connection:
        found = await connection.fetch("SELECT id, status, generation FROM ecg")
    return {row["id"]: (row["status"], row["generation"]) for row in found}


async def are_completed(database: Database) -> bool:
    return {status for status, _ in (await rows(database)).values()} == {"completed"}


async def test_only_what_is_selected_is_queued_again_and_the_record_says_so(database: Database) -> None:
    await a_finished_ecg(database, "good")
    await a_finished_ecg(database, "bad", error="no")
    operations, selection = PostgresOperations(database), Selection(failed=True)

    counted = await operations.count(selection)
    replayed = await replay(selection, _NOTE, operations=operations)

    assert counted == 1
    assert replayed == [EcgKey("ada", "bad", 2)]
    assert await rows(database) == {"good": ("completed", 1), "bad": ("queued", 2)}
    async with database.connection() as connection:
        record = await connection.fetchrow("SELECT who, why, what, subject FROM operation")
    assert record is not None
    assert (record["who"], record["why"], record["what"]) == (*_NOTE, "replay")
    assert orjson.loads(record["subject"])["ecgs"] == [["ada", "bad", 2]]


@pytest.mark.parametrize(
    ("selection", "ids"),
    [
        (Selection(id="good"), {"good"}),
        (Selection(owner="ada"), {"good", "bad"}),
        (Selection(owner="bob"), set()),
        (Selection(since=datetime(2020, 1, 1, tzinfo=UTC)), {"good", "bad"}),
        (Selection(since=datetime(2999, 1, 1, tzinfo=UTC)), set()),
        (Selection(owner="ada", failed=True), {"bad"}),
    ],
)
async def test_conditions_add_up(database: Database, selection: Selection, ids: set[str]) -> None:
    await a_finished_ecg(database, "good")
    await a_finished_ecg(database, "bad", error="no")

    replayed = await replay(selection, _NOTE, operations=PostgresOperations(database))

    assert {key.id for key in replayed} == ids


async def test_what_was_erased_stays_erased(database: Database) -> None:
    await a_finished_ecg(database, "10")
    event_of = partial(deleted_event, source=SOURCE, now=datetime.now(UTC), traceparent=None)
    await PostgresOwnedEcgs(database).erase("ada", "10", event_of=event_of)

    assert await replay(Selection(owner="ada"), _NOTE, operations=PostgresOperations(database)) == []

    assert await rows(database) == {"10": ("erased", 1)}


async def test_replaying_twice_while_the_relay_runs_does_no_harm(database: Database) -> None:
    ids = [str(number) for number in range(20)]
    for ecg_id in ids:
        await a_finished_ecg(database, ecg_id)
    broker = InProcessBroker()
    broker.bind(_QUEUE, EventType.SUBMITTED)
    broker.bind("subscriber", EventType.PROCESSED)
    operations, stop_requested = PostgresOperations(database), asyncio.Event()

    async with broker.consumer(_QUEUE, prefetch=16) as consumer, asyncio.TaskGroup() as tasks:
        tasks.create_task(
            run_processor(
                ProcessorOnlySettings(relay_interval_s=0.02),
                insights=[ZERO_CROSSINGS],
                store=PostgresEcgStore(database),
                outbox=PostgresOutbox(database),
                publisher=broker.publisher(),
                event_source=AnEventSource(),
                consumer=consumer,
                breaker=CircuitBreaker(),
                claim_ids=ClaimIds(new_process_id()),
                stop_requested=stop_requested,
            )
        )
        first = await replay(Selection(owner="ada"), _NOTE, operations=operations)
        second = await replay(Selection(owner="ada"), _NOTE, operations=operations)
        await until(partial(are_completed, database))
        stop_requested.set()

    expected = [*first, *second]
    received = [_key(body) for body in broker.waiting("subscriber")]
    assert len(first) == 20
    assert sorted(set(received)) == sorted(expected)
    for ecg_id, (status, generation) in (await rows(database)).items():
        assert status == "completed"
        assert generation == max(key.generation for key in expected if key.id == ecg_id)


async def test_the_command_asks_and_a_dry_run_changes_nothing(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await a_finished_ecg(database, "10")
    monkeypatch.setenv("ISOLINE_DATABASE_URL", database_url)
    command = ["replay", "--id", "10", "--why", "because", "--who", "ada"]

    dry = await _invoke(*command, "--dry-run")
    refused = await _invoke(*command, answer="n\n")
    untouched = await rows(database)
    done = await _invoke(*command, answer="y\n")

    assert dry == (0, "1 ECGs will be analysed again (nothing was done)\n")
    assert refused[0] == 1
    assert untouched == {"10": ("completed", 1)}
    assert done[0] == 0
    assert await rows(database) == {"10": ("queued", 2)}


async def _invoke(*arguments: str, answer: str | None = None) -> tuple[int, str]:
    result = await asyncio.to_thread(CliRunner().invoke, app, list(arguments), answer)
    return result.exit_code, result.output


def _key(body: bytes) -> EcgKey:
    data: dict[str, Any] = orjson.loads(body)["data"]
    return EcgKey(data["owner"], data["id"], data["generation"])
