"""`isoline trace`: what became of one ECG."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from typer.testing import CliRunner

from isoline.cli.app import app
from shared.domain.errors import NotFoundError
from shared.events import EcgKey, deleted_event, failed_event, processed_event
from shared.ports.ecgs import Settlement, Submission
from shared.ports.operators.operations import AuditNote, Selection
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.operators.operations import PostgresOperations
from shared.storage.postgres.operators.timelines import PostgresTimelines
from shared.storage.postgres.outbox import PostgresOutbox
from shared.storage.postgres.owned_ecgs import PostgresOwnedEcgs
from tests.support.builders import SOURCE, AnEventSource, an_ecg

if TYPE_CHECKING:
    import pytest

    from shared.storage.pool.database import Database

_TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
_WHY: Final = "fragile of lead I could not be measured: ZeroDivisionError"


async def submit(database: Database, ecg_id: str = "10", *, owner: str = "ada") -> EcgKey:
    store = PostgresEcgStore(database)
    submission = Submission(owner, an_ecg(ecg_id), f"00-{_TRACE}-00f067aa0ba902b7-01")
    [receipt] = await store.add([submission])
    return receipt.key


async def settle(
    database: Database, key: EcgKey, *, error: str | None = None, is_published: bool = True
) -> None:
    store = PostgresEcgStore(database)
    [claim] = (await store.claim([key], claim_id=uuid4(), tried_before=True)).claimed
    now = datetime.now(UTC)
    if error is None:
        event = processed_event(key, {}, source=SOURCE, now=now, traceparent=None)
        batch = await store.settle([Settlement(claim, event, document={"leads": []})])
    else:
        event = failed_event(key, error, source=SOURCE, now=now, traceparent=None)
        batch = await store.settle([Settlement(claim, event, error=error)])
    if is_published:
        await PostgresOutbox(database).clear([batch.id])


async def replay(database: Database, ecg_id: str = "10") -> EcgKey:
    operations = PostgresOperations(database)
    [key] = await operations.replay(
        Selection(id=ecg_id), AuditNote("grace", "mended"), finished_before=await operations.now(), limit=9
    )
    return key


async def moments(database: Database, owner: str = "ada", ecg_id: str = "10") -> list[tuple[int, str, str]]:
    timeline = await PostgresTimelines(database, AnEventSource()).read(owner, ecg_id)
    assert timeline is not None
    return [(moment.generation, moment.what, moment.detail) for moment in timeline.moments]


async def test_an_ecg_that_waits_says_how_often_it_was_tried_and_published(database: Database) -> None:
    key = await submit(database)
    await PostgresEcgStore(database).claim([key], claim_id=uuid4())
    async with database.connection() as connection:
        await connection.execute("UPDATE ecg SET republished = 3, due_at = '2026-01-05 08:00:09Z'")

    assert await moments(database) == [
        (1, "submitted", ""),
        (1, "queued", "after 1 attempt, published again 3 times, and next at 08:00:09"),
    ]


async def test_each_generation_is_told_and_who_began_it_and_why(database: Database) -> None:
    key = await submit(database)
    await PostgresEcgStore(database).claim([key], claim_id=uuid4())
    await settle(database, key, error=_WHY)
    await settle(database, await replay(database))
    await replay(database)

    *finished, queued = await moments(database)
    assert finished == [
        (1, "submitted", ""),
        (1, "failed", _WHY),
        (2, "replayed", "by grace: mended"),
        (2, "completed", ""),
        (3, "replayed", "by grace: mended"),
    ]
    assert queued[:2] == (3, "queued")
    assert queued[2].startswith("after 0 attempts, ")


async def test_a_finished_one_says_after_how_many_attempts_and_whether_its_event_waits(
    database: Database,
) -> None:
    key = await submit(database)
    await PostgresEcgStore(database).claim([key], claim_id=uuid4())
    await settle(database, key, error=_WHY, is_published=False)
    await settle(database, await submit(database, "11"), is_published=False)

    [_, failed, unpublished] = await moments(database)
    assert failed == (1, "failed", f"after 2 attempts: {_WHY}")
    assert unpublished[:2] == (1, "unpublished")
    assert unpublished[2].startswith("published again 0 times")


async def test_an_event_of_an_earlier_generation_may_wait_too(database: Database) -> None:
    await settle(database, await submit(database), is_published=False)
    await replay(database)

    assert [(generation, what) for generation, what, _ in await moments(database)] == [
        (1, "submitted"),
        (1, "completed"),
        (1, "unpublished"),
        (2, "replayed"),
        (2, "queued"),
    ]


async def test_another_owners_ecg_of_the_same_id_is_another(database: Database) -> None:
    await submit(database, owner="bob")
    await settle(database, await submit(database))
    await replay(database)

    assert [what for _, what, _ in await moments(database, "bob")] == ["submitted", "queued"]
    assert await PostgresTimelines(database, AnEventSource()).read("eve", "10") is None


async def test_an_id_that_was_erased_and_came_again_begins_anew(database: Database) -> None:
    await settle(database, await submit(database))
    await settle(database, await replay(database))
    batch = await PostgresOwnedEcgs(database).erase(
        "ada",
        "10",
        event_of=lambda key: deleted_event(key, source=SOURCE, now=datetime.now(UTC), traceparent=None),
    )
    assert batch is not None
    await PostgresOutbox(database).clear([batch.id])
    erased = await moments(database)
    await submit(database)

    assert [what for _, what, _ in erased] == ["submitted", "replayed", "erased"]
    assert [(generation, what) for generation, what, _ in await moments(database)] == [
        (3, "submitted"),
        (3, "queued"),
    ]


async def test_the_command_prints_a_line_for_each_moment_and_the_trace(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settle(database, await submit(database), error=_WHY)
    monkeypatch.setenv("ISOLINE_DATABASE_URL", database_url)

    table, as_json, unknown = [
        await asyncio.to_thread(CliRunner().invoke, app, ["trace", *arguments])
        for arguments in (["ada", "10"], ["ada", "10", "--format", "json"], ["ada", "11"])
    ]

    submitted, failed, trace = table.stdout.splitlines()
    assert submitted[10:].split() == [submitted[11:23], "submitted"]
    assert failed.endswith(f"  failed, after 1 attempt: {_WHY}")
    assert trace == f"trace {_TRACE}"
    document = json.loads(as_json.stdout)
    assert document["trace_id"] == _TRACE
    assert [moment["what"] for moment in document["moments"]] == ["submitted", "failed"]
    assert isinstance(unknown.exception, NotFoundError)
    assert str(unknown.exception) == "ada never submitted an ECG 11."
