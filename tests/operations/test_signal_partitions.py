"""Signals in partitions: one is always ready, none is missed, and old ones go whole."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import pytest

from shared import retention as retention_module
from shared.domain.errors import UnavailableError
from shared.ports.operators.operations import AuditNote, Selection
from shared.retention import open_retention
from shared.service import Service
from shared.storage.pool.database import open_database
from shared.storage.postgres.checks import check_reading, check_results, check_submissions
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.operators.operations import PostgresOperations
from shared.storage.postgres.operators.retention import PostgresRetention
from shared.storage.schema.grants import grant
from shared.storage.schema.migrations import migrate
from tests.operations.test_prune import age, execute, ids, prune_90_days, publish_all
from tests.operations.test_replay import a_finished_ecg
from tests.support.builders import a_submission
from tests.support.databases import open_connection
from tests.support.polling import until
from tests.support.roles import open_role, url_of_role

if TYPE_CHECKING:
    from shared.storage.pool.database import Database

_NOTE: Final = AuditNote("olga", "why")
_FIRST_END: Final = 1_000_000
_BEFORE_PARTITIONS: Final = 19


async def partitions(database: Database) -> list[tuple[int, int | None]]:
    """First row and end of each."""
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT first_row, end_row FROM signal_partitions()")
    return [(row["first_row"], row["end_row"]) for row in rows]


async def signals(database: Database) -> int:
    async with database.connection() as connection:
        count: int = await connection.fetchval("SELECT count(*) FROM ecg_signal")
    return count


async def skip_rows(database: Database, last: int) -> None:
    """Let the next ECG be in the row after this."""
    await execute(database, f"SELECT setval('ecg_row_seq', {last})")


async def can_all_be_loaded(database: Database, *names: str) -> bool:
    store = PostgresEcgStore(database)
    receipts = await store.add([a_submission(name) for name in names])
    claims = await store.claim(
        [receipt.key for receipt in receipts], claim_id=uuid4(), tried_before=True, load_samples=1
    )
    loaded = claims.loaded | await store.load(claims.claimed)
    return len(loaded) == len(names) and all(stored.decode() for stored in loaded.values())


async def extend(database: Database, *, least_rows: int = 1000, parts: int = 8) -> bool:
    return await PostgresRetention(database).extend_partitions(least_rows=least_rows, parts=parts)


async def test_signals_of_pruned_ecgs_go_with_their_partition(database: Database) -> None:
    await a_finished_ecg(database, "a")
    await a_finished_ecg(database, "b")
    await publish_all(database)
    await skip_rows(database, _FIRST_END + 10)
    await age(database)
    await a_finished_ecg(database, "young")
    retention = PostgresRetention(database)

    page = await retention.prune(await retention.now() - timedelta(days=90), after_row=0, limit=10)
    left = await signals(database)
    dropped = [await retention.drop_signals(), await retention.drop_signals()]

    assert (page.ecgs, left, dropped) == (2, 3, [True, False])
    assert await partitions(database) == [(_FIRST_END, None)]
    assert (await signals(database), await ids(database)) == (1, {"young"})
    assert await can_all_be_loaded(database, "new")


async def test_a_command_leaves_no_signal_of_a_partition_that_is_past(database: Database) -> None:
    await a_finished_ecg(database, "a")
    await publish_all(database)
    await skip_rows(database, _FIRST_END + 10)
    await age(database)
    await a_finished_ecg(database, "young")

    await prune_90_days(database)

    assert await partitions(database) == [(_FIRST_END, None)]


async def test_where_an_ecg_stays_the_signals_of_the_others_go_one_by_one(database: Database) -> None:
    for name in ("a", "replayed", "b"):
        await a_finished_ecg(database, name)
    await publish_all(database)
    await skip_rows(database, _FIRST_END + 10)
    await age(database)
    operations = PostgresOperations(database)
    await operations.replay(Selection(id="replayed"), _NOTE, finished_before=await operations.now(), limit=10)

    await prune_90_days(database)

    assert await ids(database) == {"replayed"}
    assert await signals(database) == 1
    assert await can_all_be_loaded(database, "replayed")
    assert await partitions(database) == [(0, _FIRST_END), (_FIRST_END, None)]


async def test_signals_of_a_partition_that_is_not_past_go_at_once(database: Database) -> None:
    await a_finished_ecg(database, "a")
    await publish_all(database)
    await age(database)

    await prune_90_days(database)

    assert await signals(database) == 0


async def test_a_partition_with_younger_ecgs_is_not_waited_for(database: Database) -> None:
    await a_finished_ecg(database, "a")
    await publish_all(database)
    await age(database)
    await a_finished_ecg(database, "young")
    await skip_rows(database, _FIRST_END + 10)

    await prune_90_days(database)

    assert (await signals(database), await ids(database)) == (1, {"young"})


async def test_a_partition_is_added_when_the_last_begins_to_be_used(database: Database) -> None:
    assert not await extend(database)
    await skip_rows(database, _FIRST_END - 1001)
    assert not await extend(database)
    await skip_rows(database, _FIRST_END - 999)
    added = [await extend(database), await extend(database)]

    assert added == [True, False]
    assert await partitions(database) == [
        (0, _FIRST_END),
        (_FIRST_END, _FIRST_END + 1000),
        (_FIRST_END + 1000, None),
    ]
    for last in (_FIRST_END - 2, _FIRST_END + 998):
        await skip_rows(database, last)
        assert await can_all_be_loaded(database, f"{last}-1", f"{last}-2", f"{last}-3")


async def test_partitions_are_as_wide_as_a_part_of_all(database: Database) -> None:
    await PostgresEcgStore(database).add([a_submission("first")])
    await skip_rows(database, _FIRST_END - 1)

    assert await extend(database, parts=4)

    assert (await partitions(database))[1] == (_FIRST_END, _FIRST_END + (_FIRST_END - 2) // 4)


async def test_a_partition_that_is_added_late_takes_what_is_there(database: Database) -> None:
    await skip_rows(database, _FIRST_END + 7)
    assert await can_all_be_loaded(database, "1", "2")

    assert await extend(database)

    assert (await partitions(database))[1] == (_FIRST_END, _FIRST_END + 1009)
    assert await signals(database) == 2
    assert await can_all_be_loaded(database, "3")


async def test_one_of_two_at_once_adds_a_partition(database: Database) -> None:
    await skip_rows(database, _FIRST_END - 1)

    added = await asyncio.gather(extend(database), extend(database))

    assert sorted(added) == [False, True]
    assert len(await partitions(database)) == 3


async def test_who_reads_for_long_is_not_waited_for(database: Database) -> None:
    await skip_rows(database, _FIRST_END)
    async with database.connection() as connection, connection.transaction():
        await connection.execute("SELECT FROM ecg_signal")

        with pytest.raises(UnavailableError, match="lock timeout"):
            await extend(database)

    assert len(await partitions(database)) == 2


async def test_a_process_adds_partitions_also_where_all_is_kept(database: Database) -> None:
    await skip_rows(database, _FIRST_END)

    async def is_added() -> bool:
        return len(await partitions(database)) == 3

    async with open_retention(PostgresRetention(database), older_than=None, ecgs_per_s=1000):
        await until(is_added)


async def test_a_process_on_an_older_schema_adds_none(database: Database, database_url: str) -> None:
    await migrate(database_url, to=_BEFORE_PARTITIONS)

    assert not await extend(database)
    assert await prune_90_days(database) == 0


async def test_roles_may_do_what_they_might_before(database_url: str) -> None:
    checks = {Service.GATEWAY: (check_submissions, check_reading), Service.PROCESSOR: (check_results,)}
    for service, checks_of_service in checks.items():
        async with open_role(database_url, service) as role:
            await grant(database_url, {role: {service}})
            for schema in (_BEFORE_PARTITIONS, None):
                await migrate(database_url, to=schema)
                async with open_database(url_of_role(database_url, role)) as database:
                    for check in checks_of_service:
                        await check(database)


async def test_going_back_keeps_the_signals_of_all_partitions(database: Database, database_url: str) -> None:
    await PostgresEcgStore(database).add([a_submission("first")])
    for last in (_FIRST_END, 10 * _FIRST_END):
        await skip_rows(database, last)
        await PostgresEcgStore(database).add([a_submission(f"{last}")])
        await extend(database)

    await migrate(database_url, to=_BEFORE_PARTITIONS, force=True)
    back = await signals(database)
    await migrate(database_url, force=True)

    assert back == 3
    assert await signals(database) == 3
    assert await partitions(database) == [(0, 16 * _FIRST_END), (16 * _FIRST_END, None)]


async def test_a_backup_that_holds_the_table_makes_a_process_wait_before_it_tries_again(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_module, "_EXTEND_AGAIN_S", 0.01)
    await skip_rows(database, _FIRST_END)

    async def is_added() -> bool:
        return len(await partitions(database)) == 3

    async with (
        open_connection(database_url) as reader,
        open_retention(PostgresRetention(database), older_than=None, ecgs_per_s=1000),
    ):
        async with reader.transaction():
            await reader.execute("SELECT FROM ecg_signal")
        await until(is_added)
