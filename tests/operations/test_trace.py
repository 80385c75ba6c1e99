"""`isoline trace`: what became of one ECG."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

from typer.testing import CliRunner

from isoline.cli.app import app
from shared.domain.errors import NotFoundError
from shared.events import EcgKey, EventType, deleted_event, failed_event, processed_event
from shared.ports.claim_ids import ClaimIds, new_process_id, origin_of_claim
from shared.ports.ecgs import Settlement, Submission, given_up_after
from shared.ports.operators.operations import AuditNote, Selection
from shared.ports.operators.processes import Presence
from shared.storage.pool.database import open_database
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.operators.finished_ecgs import PostgresFinishedEcgs
from shared.storage.postgres.operators.operations import PostgresOperations
from shared.storage.postgres.operators.processes import PostgresProcesses
from shared.storage.postgres.operators.timelines import PostgresTimelines
from shared.storage.postgres.outbox import PostgresOutbox
from shared.storage.postgres.owned_ecgs import PostgresOwnedEcgs
from shared.storage.schema.migrations import migrate
from tests.support.builders import SOURCE, AnEventSource, an_ecg
from tests.support.databases import open_connection

if TYPE_CHECKING:
    import pytest

    from shared.ports.operators.timeline import Moment
    from shared.storage.pool.database import Database

_TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
_WHY: Final = "fragile of lead I could not be measured: ZeroDivisionError"


async def submit(database: Database, ecg_id: str = "10", *, owner: str = "ada") -> EcgKey:
    store = PostgresEcgStore(database)
    submission = Submission(owner, an_ecg(ecg_id), f"00-{_TRACE}-00f067aa0ba902b7-01")
    [receipt] = await store.add([submission])
    return receipt.key


async def settle(
    database: Database,
    key: EcgKey,
    *,
    error: str | None = None,
    is_published: bool = True,
    claim_id: UUID | None = None,
) -> None:
    store = PostgresEcgStore(database)
    [claim] = (await store.claim([key], claim_id=claim_id or uuid4(), tried_before=True)).claimed
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


async def read(database: Database, owner: str = "ada", ecg_id: str = "10") -> list[Moment]:
    timeline = await PostgresTimelines(database, AnEventSource()).read(owner, ecg_id)
    assert timeline is not None
    return timeline.moments


async def moments(database: Database, owner: str = "ada", ecg_id: str = "10") -> list[tuple[int, str, str]]:
    """All but the attempts."""
    return [
        (moment.generation, moment.what, moment.detail)
        for moment in await read(database, owner, ecg_id)
        if moment.what != "attempt"
    ]


async def attempts(database: Database) -> list[tuple[int, str]]:
    return [(moment.generation, moment.detail) for moment in await read(database) if moment.what == "attempt"]


async def announce(database: Database, *, worker: int) -> ClaimIds:
    """A process that makes claims; the host of each is called host-1."""
    presence = Presence(new_process_id(), "processor", worker, "host-1", "0.2.0", held_ecgs=0)
    await PostgresProcesses(database).announce(presence)
    return ClaimIds(presence.id)


async def erase(database: Database) -> None:
    batch = await PostgresOwnedEcgs(database).erase(
        "ada",
        "10",
        event_of=lambda key: deleted_event(key, source=SOURCE, now=datetime.now(UTC), traceparent=None),
    )
    assert batch is not None
    await PostgresOutbox(database).clear([batch.id])


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


async def test_the_claim_that_gives_an_ecg_up_is_no_attempt(database: Database) -> None:
    key, claims = await submit(database), await announce(database, worker=1)
    for _ in range(2):
        await PostgresEcgStore(database).claim([key], claim_id=claims.next(), tried_before=True)
    await settle(database, key, claim_id=claims.next(), error=given_up_after(2))

    assert (await moments(database))[1] == (1, "failed", "after 2 attempts: Given up after 2 attempts.")
    assert [detail[0] for _, detail in await attempts(database)] == ["1", "2"]
    [ecg] = (await PostgresFinishedEcgs(database).page(Selection(failed=True), limit=9)).ecgs
    assert ecg.attempts == 2


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
    await erase(database)
    erased = await moments(database)
    await submit(database)

    assert [what for _, what, _ in erased] == ["submitted", "replayed", "erased"]
    assert [(generation, what) for generation, what, _ in await moments(database)] == [
        (3, "submitted"),
        (3, "queued"),
    ]


async def test_each_attempt_says_which_process_made_it_and_why_it_had_no_result(database: Database) -> None:
    key, store = await submit(database), PostgresEcgStore(database)
    first, second = await announce(database, worker=1), await announce(database, worker=2)
    await store.claim([key], claim_id=first.next())
    await store.claim([key], claim_id=second.next(), tried_before=True)
    await store.postpone([key], delay_s=0, reason=_WHY)
    await store.claim([key], claim_id=first.next(), tried_before=True)
    waiting = await attempts(database)
    await settle(database, key, claim_id=second.next())

    unfinished, *others = [detail for _, detail in waiting]
    assert unfinished.startswith(
        "1 by processor/1 on host-1, 0.2.0: no result when the next attempt began; "
        "its process was last heard of at "
    )
    assert others == [
        f"2 by processor/2 on host-1, 0.2.0: {_WHY}",
        "3 by processor/1 on host-1, 0.2.0: no result yet",
    ]
    *earlier, last = await attempts(database)
    assert earlier[1] == waiting[1]
    assert "no result when" in earlier[0][1]
    assert "no result when" in earlier[2][1]
    assert last == (1, "4 by processor/2 on host-1, 0.2.0")
    times = [moment.at for moment in await read(database) if moment.what == "attempt"]
    assert all(at is not None and abs((datetime.now(UTC) - at).total_seconds()) < 60 for at in times)


async def test_an_attempt_that_was_counted_twice_by_nobody_is_noted_once(database: Database) -> None:
    key, store = await submit(database), PostgresEcgStore(database)
    await store.claim([key], claim_id=ClaimIds(new_process_id()).next())
    again = ClaimIds(new_process_id()).next()
    for _ in range(2):  # its answer was lost
        await store.claim([key], claim_id=again, tried_before=True)
        await store.postpone([key], delay_s=0, reason=_WHY)

    assert len(await attempts(database)) == 2


async def test_a_process_that_lived_on_gave_the_ecg_back_or_was_slower(database: Database) -> None:
    key, store = await submit(database), PostgresEcgStore(database)
    await store.claim([key], claim_id=(await announce(database, worker=1)).next())
    await settle(database, key)
    async with database.connection() as connection:
        await connection.execute("UPDATE attempt SET noted_at = noted_at - interval '20 seconds'")

    assert "its process lived on" in (await attempts(database))[0][1]


async def test_a_process_that_left_says_when(database: Database) -> None:
    key, store = await submit(database), PostgresEcgStore(database)
    claim_ids = await announce(database, worker=1)
    claim_id = claim_ids.next()
    await store.claim([key], claim_id=claim_id)
    origin = origin_of_claim(claim_id)
    assert origin is not None
    await PostgresProcesses(database).leave(origin.process_id)
    await settle(database, key)

    [(_, first), (_, second)] = await attempts(database)
    assert "; its process left at " in first
    assert second == "2 by a process of an earlier release"


async def test_attempts_of_earlier_generations_stay_and_go_when_the_ecg_is_erased(database: Database) -> None:
    key, store = await submit(database), PostgresEcgStore(database)
    claim_ids = await announce(database, worker=1)
    await store.claim([key], claim_id=claim_ids.next())
    await store.postpone([key], delay_s=0, reason=_WHY)
    await settle(database, key, error=_WHY, claim_id=claim_ids.next())
    await settle(database, await replay(database), claim_id=claim_ids.next())
    kept = await attempts(database)
    await erase(database)
    await submit(database)

    by = "by processor/1 on host-1, 0.2.0"
    assert kept == [(1, f"1 {by}: {_WHY}"), (1, f"2 {by}"), (2, f"1 {by}")]
    assert await attempts(database) == []
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM attempt") == 0


async def test_attempts_go_with_an_ecg_that_is_deleted_whole(database: Database) -> None:
    key, store = await submit(database), PostgresEcgStore(database)
    await store.claim([key], claim_id=uuid4())
    await store.postpone([key], delay_s=0, reason=_WHY)
    async with database.connection() as connection:
        await connection.execute("DELETE FROM ecg")

        assert await connection.fetchval("SELECT count(*) FROM attempt") == 0


async def test_without_the_table_of_attempts_the_last_one_is_told(database_url: str) -> None:
    await migrate(database_url, to=14)
    async with open_connection(database_url) as connection:
        await connection.execute("DROP TABLE attempt")  # it stays, after it was there once
    async with open_database(database_url) as database:
        key, store = await submit(database), PostgresEcgStore(database)
        claim_ids = await announce(database, worker=1)
        await store.claim([key], claim_id=claim_ids.next())
        await store.postpone([key], delay_s=0, reason=_WHY)
        await settle(database, key, claim_id=claim_ids.next())

        assert await attempts(database) == [(1, "2 by processor/1 on host-1, 0.2.0")]
        await replay(database)
        assert await attempts(database) == []
        await erase(database)


async def test_the_command_prints_a_line_for_each_moment_and_the_trace(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await settle(database, await submit(database), error=_WHY)
    monkeypatch.setenv("ISOLINE_DATABASE_URL", database_url)

    table, as_json, unknown = [
        await asyncio.to_thread(CliRunner().invoke, app, ["trace", *arguments])
        for arguments in (["ada", "10"], ["ada", "10", "--format", "json"], ["ada", "11"])
    ]

    submitted, _, failed, trace = table.stdout.splitlines()
    assert submitted[10:].split() == [submitted[11:23], "submitted"]
    assert failed.endswith(f"  failed, after 1 attempt: {_WHY}")
    assert trace == f"trace {_TRACE}"
    document = json.loads(as_json.stdout)
    assert document["trace_id"] == _TRACE
    assert [moment["what"] for moment in document["moments"]] == ["submitted", "attempt", "failed"]
    assert isinstance(unknown.exception, NotFoundError)
    assert str(unknown.exception) == "ada never submitted an ECG 11."


async def sent(
    database: Database,
    key: EcgKey,
    *,
    webhook: UUID,
    type_: EventType = EventType.PROCESSED,
    state: str = "delivered",
    attempts: int = 1,
    error: str | None = None,
) -> None:
    async with database.connection() as connection:
        await connection.execute(
            "INSERT INTO webhook_delivery (webhook, event_id, type, owner, ecg, generation, state, attempts, "
            "give_up_at, error) VALUES ($1, gen_random_uuid(), $2, $3, $4, $5, $6, $7, now(), $8)",
            *(webhook, type_, *key, state, attempts, error),
        )


async def test_what_webhooks_sent_stands_with_the_generation_it_is_of(database: Database) -> None:
    webhooks = [UUID("2f0c7a58-6f0e-4d55-9a37-0d6a3f6b9c11"), UUID("7c1f4c5e-3a52-4f6b-9a0e-2d8f6d3c1b7a")]
    first = await submit(database)
    await settle(database, first)
    second = await replay(database)
    await settle(database, second)
    await sent(database, first, webhook=webhooks[0])
    await sent(database, second, webhook=webhooks[0], state="waiting", attempts=3, error="answered 503")
    await sent(database, second, webhook=webhooks[1], attempts=2)
    await sent(database, EcgKey("ada", "11"), webhook=webhooks[0])
    await sent(database, EcgKey("bob", "10"), webhook=webhooks[0])

    told = await moments(database)

    assert [moment for moment in told if moment[1] == "webhook"] == [
        (1, "webhook", "2f0c7a58: ecg.processed delivered after 1 attempt"),
        (2, "webhook", "2f0c7a58: ecg.processed waiting after 3 attempts: answered 503"),
        (2, "webhook", "7c1f4c5e: ecg.processed delivered after 2 attempts"),
    ]
    assert [what for _, what, _ in told] == [
        *("submitted", "completed", "webhook"),
        *("replayed", "completed", "webhook", "webhook"),
    ]


async def test_the_erasure_that_a_webhook_sent_comes_last_and_is_not_of_the_next_ecg_of_the_id(
    database: Database,
) -> None:
    key, webhook = await submit(database), uuid4()
    await settle(database, key)
    await sent(database, key, webhook=webhook)
    await erase(database)
    await sent(database, key, webhook=webhook, type_=EventType.DELETED)
    erased = await moments(database)
    again = await submit(database)
    await sent(database, again, webhook=webhook)

    assert [what for _, what, _ in erased][-2:] == ["erased", "webhook"]
    assert [(generation, what) for generation, what, _ in await moments(database)] == [
        (again.generation, "submitted"),
        (again.generation, "queued"),
        (again.generation, "webhook"),
    ]


async def test_without_the_tables_of_webhooks_all_else_is_told(database_url: str) -> None:
    await migrate(database_url, to=24)
    async with open_connection(database_url) as connection:
        await connection.execute(
            "DROP TABLE webhook, webhook_delivery"
        )  # they stay, after they were there once
    async with open_database(database_url) as database:
        await settle(database, await submit(database))

        assert [what for _, what, _ in await moments(database)] == ["submitted", "completed"]
