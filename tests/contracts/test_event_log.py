"""The event log: what was published can be read again, in an order in which nothing is skipped."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import chain
from random import Random
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import asyncpg
import orjson
import pytest

from shared.domain.errors import ForgottenError
from shared.event_log_retention import open_event_log_days
from shared.events import EcgKey, EventType, deleted_event, failed_event, processed_event
from shared.ports.ecgs import Settlement
from shared.ports.event_log import LogPosition
from shared.ports.operators.operations import AuditNote, Selection
from shared.storage.pool.database import open_database
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.event_log import PostgresEventLog
from shared.storage.postgres.operators.event_log_days import PostgresEventLogDays
from shared.storage.postgres.operators.operations import PostgresOperations
from shared.storage.postgres.owned_ecgs import PostgresOwnedEcgs
from shared.storage.schema.compatibility import connection_name
from shared.storage.schema.migrations import migrate
from tests.support.builders import SOURCE, AnEventSource, a_submission
from tests.support.databases import open_connection
from tests.support.polling import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.domain.findings import JsonValue
    from shared.events import Event
    from shared.ports.event_log import LoggedEvent, LogPage
    from shared.storage.pool.database import Database

_SCHEMA_BEFORE: Final = 22
_DOCUMENT: Final[dict[str, JsonValue]] = {
    "leads": [{"I": {"zero_crossings": 2, "rate": 61.25}}],
    "insights": {"zero_crossings": 1},
}
_TRACE: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_ALL: Final = frozenset({EventType.PROCESSED, EventType.FAILED, EventType.DELETED})
_ADD: Final = """
INSERT INTO event_log (at, types, owners, ids, generations, traceparents)
VALUES (now(), ARRAY['ecg.deleted'], ARRAY['ada'], ARRAY[$1], ARRAY[1], ARRAY[NULL])
"""

_ADD_AS: Final = """
INSERT INTO event_log (xid, at, types, owners, ids, generations, traceparents)
VALUES ($1::text::xid8, now(), ARRAY['ecg.deleted'], ARRAY['ada'], ARRAY[$2], ARRAY[1], ARRAY[NULL])
"""
_AFTER: Final = """
SELECT xid::text::bigint AS xid, ids[1] AS id FROM event_log WHERE xid::text::bigint > $1 ORDER BY xid
"""
_DAYS: Final = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'event_log'::regclass"


@pytest.fixture
def log(database: Database) -> PostgresEventLog:
    return PostgresEventLog(database, AnEventSource())


async def submit(database: Database, *ids: str, owner: str = "ada") -> list[EcgKey]:
    receipts = await PostgresEcgStore(database).add([a_submission(ecg_id, owner=owner) for ecg_id in ids])
    return [receipt.key for receipt in receipts]


async def settle(database: Database, keys: Sequence[EcgKey], *, error: str | None = None) -> Sequence[Event]:
    store, now = PostgresEcgStore(database), datetime.now(UTC)
    claims = (await store.claim(keys, claim_id=uuid4(), tried_before=True)).claimed
    settlements = []
    for claim in claims:
        if error is None:
            event = processed_event(
                claim.key, _DOCUMENT, source=SOURCE, now=now, traceparent=claim.traceparent
            )
            settlements.append(Settlement(claim, event, document=_DOCUMENT))
        else:
            event = failed_event(claim.key, error, source=SOURCE, now=now, traceparent=claim.traceparent)
            settlements.append(Settlement(claim, event, error=error))
    return (await store.settle(settlements)).events


async def erase(database: Database, key: EcgKey) -> Event:
    batch = await PostgresOwnedEcgs(database).erase(
        key.owner,
        key.id,
        event_of=lambda erased: deleted_event(
            erased, source=SOURCE, now=datetime.now(UTC), traceparent=_TRACE
        ),
    )
    assert batch is not None
    return batch.events[0]


async def replay(database: Database, ecg_id: str) -> list[EcgKey]:
    operations = PostgresOperations(database)
    return await operations.replay(
        Selection(id=ecg_id), AuditNote("olga", "once more"), finished_before=await operations.now(), limit=9
    )


async def read(log: PostgresEventLog, after: LogPosition | None = None, *, limit: int = 100) -> LogPage:
    return await log.read(after, limit=limit, types=_ALL)


def ids_of(page: LogPage) -> list[str]:
    """The ECGs' ids of the events."""
    return [orjson.loads(each.event.body)["data"]["id"] for each in page.events]


async def execute(database: Database, statement: str) -> None:
    async with database.connection() as connection:
        await connection.execute(statement)


async def test_what_was_published_is_read_again_byte_for_byte(
    database: Database, log: PostgresEventLog
) -> None:
    first = await settle(database, await submit(database, "10", "11"))
    failed = await settle(database, await submit(database, "12"), error="Given up after 5 attempts.")
    again = await settle(database, await replay(database, "12"))
    deleted = await erase(database, (await submit(database, "13"))[0])

    page = await read(log)

    assert sorted(each.event.id for each in page.events[:2]) == sorted(event.id for event in first)
    assert {each.event for each in page.events} == {*first, *failed, *again, deleted}
    assert [each.event.type for each in page.events][2:] == ["ecg.failed", "ecg.processed", "ecg.deleted"]
    assert not page.has_more
    assert (await read(log, page.position)).events == []
    more = await settle(database, await submit(database, "14"))
    assert [each.event for each in (await read(log, page.position)).events] == more


async def test_the_log_has_no_result_of_what_was_erased(database: Database, log: PostgresEventLog) -> None:
    [key] = await submit(database, "10")
    await settle(database, [key])
    await settle(database, await replay(database, "10"))
    deleted = await erase(database, key)
    [again] = await submit(database, "10")

    assert [each.event for each in (await read(log)).events] == [deleted]
    assert again.generation == 3
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT event_log::text AS row FROM event_log")
    assert not any("zero_crossings" in row["row"] for row in rows)


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_pages_follow_each_other_also_within_a_transaction(
    database: Database, log: PostgresEventLog, limit: int
) -> None:
    await settle(database, await submit(database, "10", "11", "12"))
    await settle(database, await submit(database, "13"))
    pages, position = [], None
    while True:
        page = await read(log, position, limit=limit)
        pages.append(ids_of(page))
        position = page.position
        if not page.has_more:
            break

    assert sorted(chain.from_iterable(pages)) == ["10", "11", "12", "13"]
    assert all(len(ids) <= limit for ids in pages)


async def test_the_newest_transaction_is_that_of_the_highest_number(
    database_url: str, log: PostgresEventLog
) -> None:
    newest = [await log.newest()]
    async with open_connection(database_url) as writer:
        for transaction in (8, 9, 10, 99, 100):
            await writer.execute(_ADD_AS, str(transaction), str(transaction))
            newest.append(await log.newest())

    assert newest == [0, 8, 9, 10, 99, 100]


async def test_events_are_chosen_by_owner_type_and_time(database: Database, log: PostgresEventLog) -> None:
    await settle(database, await submit(database, "10", owner="bob"))
    await settle(database, await submit(database, "10"), error="no")
    now = datetime.now(UTC)

    mine = await log.read(None, limit=9, types=_ALL, owner="ada")
    failed = await log.read(None, limit=9, types=[EventType.FAILED])
    none = await log.read(None, limit=9, types=[EventType.DELETED], owner="ada")
    later = await log.read(None, limit=9, types=_ALL, since=now + timedelta(days=1))

    assert mine.events == failed.events != []
    assert (none.events, later.events) == ([], [])
    end = await log.end()
    assert none.position == later.position == end
    assert (await read(log, end)).events == []


async def test_a_filter_of_a_long_log_reads_a_part_at_a_time(
    database: Database, log: PostgresEventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.storage.postgres.event_log._ROWS", 2)
    for number in range(5):
        await settle(database, await submit(database, str(number)))
    await settle(database, await submit(database, "10", owner="bob"))
    position, parts = None, 0
    found: list[LoggedEvent] = []
    while True:
        page = await log.read(position, limit=9, types=_ALL, owner="bob")
        position, parts = page.position, parts + 1
        found += page.events
        if not page.has_more:
            break

    assert len(found) == 1
    assert parts > 2


async def test_a_cursor_that_is_the_last_number_seen_loses_what_commits_late(
    database_url: str, log: PostgresEventLog
) -> None:
    """Why the log is read no further than the oldest transaction that runs."""
    after = (await read(log)).position
    async with open_connection(database_url) as late, open_connection(database_url) as reader:
        transaction = late.transaction()
        await transaction.start()
        await late.execute(_ADD, "late")
        await reader.execute(_ADD, "early")
        plain = await reader.fetch(_AFTER, 0)
        seen = ids_of(await read(log, after))
        await transaction.commit()
        plain += await reader.fetch(_AFTER, plain[-1]["xid"])
        seen += ids_of(await read(log, after))

    assert [row["id"] for row in plain] == ["early"]
    assert seen == ["late", "early"]


async def test_what_is_committed_late_is_skipped_by_no_cursor(
    database_url: str, log: PostgresEventLog
) -> None:
    """Eight writers, some of whom hold transactions open."""
    writers, commits = 8, 60
    begun, done, may_commit = 0, asyncio.Event(), asyncio.Event()
    late = {number for number in range(writers * commits) if number % 17 == 0}

    async def write(writer: int) -> None:
        nonlocal begun
        connection = await asyncpg.connect(database_url)
        try:
            for number in range(writer * commits, (writer + 1) * commits):
                async with connection.transaction():
                    await connection.execute(_ADD, str(number))
                    begun += 1
                    if number in late and writer % 2:
                        await may_commit.wait()
                    await asyncio.sleep(0)
        finally:
            await connection.close()

    async def release() -> None:
        chance = Random(1)  # noqa: S311 - no secret
        while not done.is_set():
            await asyncio.sleep(0.02 * chance.random())
            may_commit.set()
            may_commit.clear()

    seen: list[str] = []

    async def read_on() -> None:
        position = None
        while True:
            was_done = done.is_set()
            page = await read(log, position, limit=50)
            seen.extend(ids_of(page))
            position = page.position
            if was_done and not page.has_more:
                return

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(read_on())
        tasks.create_task(release())
        async with asyncio.TaskGroup() as writing:
            for writer in range(writers):
                writing.create_task(write(writer))
        done.set()

    assert sorted(seen, key=int) == [str(number) for number in range(writers * commits)]


async def test_what_is_past_its_time_is_forgotten_and_a_cursor_says_so(
    database: Database, log: PostgresEventLog
) -> None:
    await settle(database, await submit(database, "10"))
    page = await read(log)
    first = page.events[0].position
    await settle(database, await submit(database, "11"))
    end = await log.end()
    await execute(database, "UPDATE event_log SET logged_at = logged_at - interval '31 days'")

    async with database.connection() as connection:
        assert await connection.fetchval("SELECT drop_event_log(32)") is False
        while await connection.fetchval("SELECT drop_event_log(30)"):
            pass

    with pytest.raises(ForgottenError):
        await read(log, LogPosition(first.transaction - 1, 1))
    assert (await read(log)).events == []
    assert (await read(log, end)).events == []
    kept = await settle(database, await submit(database, "12"))
    assert [each.event for each in (await read(log, end)).events] == kept


async def test_a_day_goes_whole(database: Database, log: PostgresEventLog) -> None:
    end = await log.end()
    await execute(
        database,
        """CREATE TABLE event_log_20200101 PARTITION OF event_log
            FOR VALUES FROM ('2020-01-01Z') TO ('2020-01-02Z');
        INSERT INTO event_log (logged_at, at, types, owners, ids, generations)
        VALUES ('2020-01-01 12:00Z', now(), '{ecg.deleted}', '{ada}', '{10}', '{1}')""",
    )
    assert ids_of(await read(log, end)) == ["10"]

    async with database.connection() as connection:
        assert await connection.fetchval("SELECT drop_event_log(30)") is True
        assert await connection.fetchval("SELECT to_regclass('event_log_20200101')") is None

    with pytest.raises(ForgottenError):
        await read(log, LogPosition(end.transaction - 1, 1))


async def test_processors_keep_as_many_days_as_they_are_told(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.event_log_retention._EVERY_S", 0.01)
    await settle(database, await submit(database, "10"))
    await execute(database, "UPDATE event_log SET logged_at = logged_at - interval '40 days'")
    await execute(database, f"DROP TABLE event_log_{datetime.now(UTC):%Y%m%d}")

    async def is_kept() -> bool:
        async with database.connection() as connection:
            left = await connection.fetchval("SELECT count(*) FROM event_log")
            days = await connection.fetchval(
                "SELECT count(*) FROM pg_inherits WHERE inhparent = 'event_log'::regclass"
            )
        return bool((left, days) == (0, 4))

    async with open_event_log_days(PostgresEventLogDays(database), days=30):
        await until(is_kept)


async def test_a_way_back_and_forward_forgets_and_says_so(database_url: str) -> None:
    async with open_database(database_url, name=connection_name("test")) as database:
        log = PostgresEventLog(database, AnEventSource())
        await settle(database, await submit(database, "10"))
        end = await log.end()
        await migrate(database_url, to=_SCHEMA_BEFORE)
        await migrate(database_url)

        with pytest.raises(ForgottenError):
            await read(log, end)
        assert (await read(log)).events == []


async def test_a_position_of_another_database_is_refused(log: PostgresEventLog) -> None:
    end = await log.end()

    with pytest.raises(ForgottenError):
        await read(log, LogPosition(end.transaction + 1_000_000, 1))


async def test_each_day_has_a_partition_before_it_comes(database: Database) -> None:
    async with database.connection() as connection:
        names = await connection.fetch(
            "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid "
            "WHERE inhparent = 'event_log'::regclass ORDER BY relname"
        )
        assert await connection.fetchval("SELECT extend_event_log()") == 0
        await connection.execute(f"DROP TABLE {names[2]['relname']}")
        assert await connection.fetchval("SELECT extend_event_log()") == 1

    today = datetime.now(UTC).date()
    days = [f"event_log_{today + timedelta(days=ahead):%Y%m%d}" for ahead in range(3)]
    assert [row["relname"] for row in names] == [*days, "event_log_rest"]


async def test_a_schema_without_the_log_settles_as_before_and_logs_once_it_is_there(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.storage.postgres.event_log_writing._LOOK_AGAIN_AFTER_S", 0.0)
    await migrate(database_url, to=_SCHEMA_BEFORE)
    async with open_database(database_url, name=connection_name("test")) as database:
        assert len(await settle(database, await submit(database, "10"))) == 1
        await erase(database, (await submit(database, "11"))[0])
        await migrate(database_url)
        logged = await settle(database, await submit(database, "12"))

        page = await read(PostgresEventLog(database, AnEventSource()))
        assert [each.event for each in page.events] == logged
