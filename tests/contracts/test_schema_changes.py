"""From one schema to another and back: what stays, what is refused, and who is held up."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from shared.domain.errors import ConfigurationError, ConflictError
from shared.storage.schema.compatibility import MIGRATIONS, NEWEST_SCHEMA, OLDEST_SCHEMA
from shared.storage.schema.migrations import migrate, read_statements
from tests.support.databases import open_connection, open_empty_database
from tests.support.polling import until
from tests.support.releases import RELEASE_BEFORE

_LIMIT_S: Final = 60
_STATED: Final = "SELECT migration_id, oldest_code FROM schema_compatibility ORDER BY migration_id"
_TABLES: Final = """
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition
    AND relname !~ '^_pogo' ORDER BY relname
"""

_WAITING_FOR_TABLES: Final = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"

# Of everything something, in every state.
_DATA: Final = """
INSERT INTO account (name, password_hash, roles) VALUES ('ada', 'x', '{user}');
INSERT INTO account (name, password_hash, roles, deleted_at, changed_at)
VALUES ('bob', '', '{}', now(), now());
INSERT INTO login (id, account, account_version, token_hash, expires_at)
VALUES (gen_random_uuid(), 'ada', 1, 'x', now());
INSERT INTO api_key (id, account, name, prefix, secret_hash, roles)
VALUES (gen_random_uuid(), 'ada', 'a monitor', 'isk_01234567', 'x', '{user}');
INSERT INTO webhook (id, account, url, description, types, of_all_owners, secret)
VALUES (gen_random_uuid(), 'ada', 'https://example.org', '', '{}', false, 'x');
INSERT INTO webhook_delivery (webhook, event_id, type, state, attempts, give_up_at)
SELECT id, gen_random_uuid(), 'webhook.ping', 'delivered', 1, now() FROM webhook;
INSERT INTO ecg (owner, id, content_hash, num_samples, status, due_at, finished_at, error) VALUES
    ('ada', '1', 'x', 3, 'queued', now(), NULL, NULL),
    ('ada', '2', 'x', 3, 'completed', NULL, now(), NULL),
    ('ada', '3', 'x', 3, 'failed', NULL, now(), 'why'),
    ('ada', '4', '', 3, 'erased', NULL, now(), NULL);
INSERT INTO ecg_signal (row, date, leads, encoding, samples)
SELECT row, '', '[]', '', 'abc' FROM ecg WHERE id < '4';
INSERT INTO ecg_insights (row, generation, document) SELECT row, 1, '{}' FROM ecg WHERE id = '2';
INSERT INTO recording (row) SELECT row FROM ecg WHERE id = '2';
INSERT INTO recording_part SELECT id, 1, 3, '', 'def' FROM recording;
INSERT INTO operation (who, why, what, subject) VALUES ('eve', 'why', 'replay', '{}');
INSERT INTO outbox (bundle_id, event_ids, types, bodies, due_at)
VALUES (gen_random_uuid(), ARRAY[gen_random_uuid()], '{p}', '{q}', now());
INSERT INTO attempt (row, generation, attempt, claimed_by, reason)
SELECT row, 1, 1, gen_random_uuid(), 'why' FROM ecg WHERE id = '3';
"""


async def contents(url: str) -> dict[str, list[Any]]:
    """Every row of every table of Isoline's, but the log, and what migrations and processes say themselves.

    And without headers, which say what other columns say too: test_header_column.py goes both ways with them.
    """
    async with open_connection(url) as connection:
        names = [row["relname"] for row in await connection.fetch(_TABLES)]
        return {
            name: [
                {column: value for column, value in row.items() if column != "header"}
                for row in await connection.fetch(f"SELECT * FROM {name} AS t ORDER BY t::text")  # noqa: S608
            ]
            for name in names
            if name not in {"schema_compatibility", "process", "intake", "throughput"}
            and not name.startswith("event_log")
        }


async def fill(url: str) -> None:
    async with open_connection(url) as connection:
        await connection.execute(_DATA)


async def test_both_ways_between_the_schemas_that_this_release_works_with_keep_everything(
    database_url: str,
) -> None:
    await fill(database_url)
    before = await contents(database_url)

    back = await migrate(database_url, to=OLDEST_SCHEMA)
    beside_the_release_before = await contents(database_url)
    forward = await migrate(database_url)

    assert (int(back[:4]), int(forward[:4])) == (OLDEST_SCHEMA, NEWEST_SCHEMA)
    assert beside_the_release_before == before
    assert await contents(database_url) == before
    assert all(before.values())


@pytest.mark.parametrize(
    ("schema", "loss"),
    [
        (4, "1 long recordings (0005_recordings)"),
        (3, "1 records of operations (0004_delivery)"),
        (2, "1 erased ids (0003_requests)"),
        (1, "1 changed or deleted accounts, 1 logins (0002_accounts)"),
    ],
)
async def test_a_way_back_that_loses_something_is_refused_as_a_whole(
    database_url: str, schema: int, loss: str
) -> None:
    await fill(database_url)
    async with open_connection(
        database_url
    ) as connection:  # of what comes first on the way back, nothing is there
        if schema < 4:
            await connection.execute("DELETE FROM recording_part; DELETE FROM recording")
        if schema < 3:
            await connection.execute("DELETE FROM operation")
        if schema < 2:
            await connection.execute("DELETE FROM ecg WHERE status = 'erased'")
    before = await contents(database_url)

    with pytest.raises(ConflictError) as refusal:
        await migrate(database_url, to=schema, force=True)

    assert str(refusal.value) == f"going back to {schema:04} loses {loss}; nothing was changed"
    assert await contents(database_url) == before


async def test_a_way_back_is_free_where_nothing_is_there_to_lose(database_url: str) -> None:
    assert await migrate(database_url, to=1) == "0001_spine"
    assert int((await migrate(database_url))[:4]) == NEWEST_SCHEMA


@pytest.mark.parametrize("schema", [0, NEWEST_SCHEMA + 1])
async def test_a_schema_that_is_none_is_refused(database_url: str, schema: int) -> None:
    with pytest.raises(ConfigurationError, match=f"no schema {schema:04}; .* 0001 to {NEWEST_SCHEMA:04}"):
        await migrate(database_url, to=schema)


async def test_several_at_once_migrate_once(postgres_url: str) -> None:
    async with open_empty_database(postgres_url) as url, asyncio.timeout(_LIMIT_S):
        names = await asyncio.gather(*(migrate(url) for _ in range(3)))

    assert len(set(names)) == 1


async def test_a_migration_that_waits_for_a_table_lock_blocks_no_request(database_url: str) -> None:
    await migrate(database_url, to=6, force=True)
    async with (
        asyncio.timeout(_LIMIT_S),
        open_connection(database_url) as report,
        open_connection(database_url) as client,
    ):
        reading = report.transaction()
        await reading.start()
        await report.fetchval("SELECT count(*) FROM ecg")
        migrating = asyncio.create_task(migrate(database_url, to=7))
        await until(lambda: client.fetchval(_WAITING_FOR_TABLES))

        assert await client.fetchval("SELECT count(*) FROM ecg") == 0
        assert not migrating.done()
        await reading.commit()
        assert await migrating == "0007_writes"


async def test_the_statements_of_each_migration_are_stored_in_the_database(database_url: str) -> None:
    async with open_connection(database_url) as connection:
        rows = await connection.fetch(_STATED)

    stated = {path.stem: read_statements(path).oldest_code for path in MIGRATIONS.glob("*.sql")}
    assert {row["migration_id"]: row["oldest_code"] for row in rows} == {
        name: oldest for name, oldest in stated.items() if oldest is not None
    }


@pytest.mark.parametrize("path", sorted(MIGRATIONS.glob("*.sql")), ids=lambda path: path.stem)
def test_each_migration_since_the_release_before_leaves_that_release_working(path: Any) -> None:
    stated = read_statements(path)

    if stated.number > RELEASE_BEFORE.schema:
        assert stated.oldest_code is not None, (
            "it needs a line `-- oldest code: NNNN`: see migrations/README.md"
        )
        assert stated.oldest_code <= RELEASE_BEFORE.schema, "it has to wait until the next minor release"


def test_this_code_works_with_the_schema_of_the_release_before() -> None:
    assert OLDEST_SCHEMA <= RELEASE_BEFORE.schema <= NEWEST_SCHEMA


async def test_code_that_saw_a_later_migration_may_look_for_what_it_states_after_it_was_taken_back(
    database_url: str,
) -> None:
    async with open_connection(database_url) as connection:
        before = await connection.fetch(_STATED)
        await migrate(database_url, to=OLDEST_SCHEMA)

        assert await connection.fetch(_STATED) == before
