"""Erasing what was finished long ago: `isoline prune` and ISOLINE_RETENTION_DAYS."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import orjson
import pytest
from typer.testing import CliRunner

from isoline.cli.app import app
from shared import retention as retention_module
from shared.domain.errors import UnavailableError
from shared.domain.recording import recording_of
from shared.events import EcgKey, deleted_event
from shared.ports.ecgs import RecordingSubmission
from shared.ports.operators.operations import AuditNote, Selection
from shared.retention import open_retention, prune
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.operators.operations import PostgresOperations
from shared.storage.postgres.operators.retention import PostgresRetention
from shared.storage.postgres.owned_ecgs import PostgresOwnedEcgs
from shared.storage.postgres.recordings import PostgresRecordingStore
from shared.storage.schema.migrations import migrate
from tests.operations.test_replay import a_finished_ecg
from tests.support.builders import SOURCE, a_submission, an_ecg
from tests.support.logs import capture_logs
from tests.support.polling import until

if TYPE_CHECKING:
    from shared.storage.pool.database import Database

_NOTE: Final = AuditNote("olga", "kept for 90 days")
_90_DAYS: Final = timedelta(days=90)
_SCHEMA_BEFORE: Final = 13

# No trigger lets a finished ECG change, so they don't fire.
_AGE: Final = """
SET LOCAL session_replication_role = replica;
UPDATE ecg SET
    submitted_at = submitted_at - interval '100 days', finished_at = finished_at - interval '100 days';
UPDATE outbox SET created_at = created_at - interval '100 days';
"""
_TABLES_OF_ECGS: Final = """
SELECT table_name
FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND column_name IN ('row', 'recording')
    AND table_name NOT IN ('operation')
"""


async def execute(database: Database, statement: str) -> None:
    async with database.connection() as connection, connection.transaction():
        await connection.execute(statement)


async def age(database: Database) -> None:
    """Let all have been submitted and finished 100 days ago."""
    await execute(database, _AGE)


async def publish_all(database: Database) -> None:
    await execute(database, "DELETE FROM outbox")


async def ids(database: Database) -> set[str]:
    async with database.connection() as connection:
        return {row["id"] for row in await connection.fetch("SELECT id FROM ecg")}


async def records(database: Database) -> list[tuple[str, str, str, Any]]:
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT who, why, what, subject FROM operation ORDER BY row")
    return [(row["who"], row["why"], row["what"], orjson.loads(row["subject"])) for row in rows]


async def prune_90_days(database: Database) -> int:
    retention = PostgresRetention(database)
    return await prune(
        await retention.now() - _90_DAYS,
        _NOTE,
        ecgs_per_s=1_000_000,
        retention=retention,
        operations=PostgresOperations(database),
    )


async def test_what_was_finished_long_ago_goes_with_all_that_hangs_on_it(database: Database) -> None:
    await a_finished_ecg(database, "completed")
    await a_finished_ecg(database, "failed", error="no")
    await PostgresRecordingStore(database).add(
        RecordingSubmission("ada", recording_of(an_ecg("long"), block_samples=2))
    )
    await a_finished_ecg(database, "long", is_there=True)
    await a_finished_ecg(database, "erased")
    await PostgresOwnedEcgs(database).erase(
        "ada", "erased", event_of=lambda key: deleted_event(key, source=SOURCE, now=_now(), traceparent=None)
    )
    await publish_all(database)
    await age(database)

    count = await prune_90_days(database)

    assert count == 4
    async with database.connection() as connection:
        tables = [row[0] for row in await connection.fetch(_TABLES_OF_ECGS)]
        assert {"ecg", "ecg_signal", "ecg_insights", "recording", "recording_part"} <= set(tables)
        for table in tables:
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0, table  # noqa: S608 - ours


async def test_what_is_queued_young_or_not_told_yet_stays(database: Database) -> None:
    await a_finished_ecg(database, "replayed")
    await a_finished_ecg(database, "old")
    await PostgresEcgStore(database).add([a_submission("queued")])
    await publish_all(database)
    await a_finished_ecg(database, "untold")
    await age(database)
    await a_finished_ecg(database, "young")
    operations = PostgresOperations(database)
    await operations.replay(Selection(id="replayed"), _NOTE, finished_before=await operations.now(), limit=10)

    first = await prune_90_days(database)
    left = await ids(database)
    await publish_all(database)
    second = await prune_90_days(database)

    assert (first, left) == (1, {"replayed", "queued", "untold", "young"})
    assert (second, await ids(database)) == (1, {"replayed", "queued", "young"})


async def test_the_id_of_a_pruned_ecg_is_free(database: Database) -> None:
    await a_finished_ecg(database, "10")
    await publish_all(database)
    await age(database)
    await prune_90_days(database)

    found = await PostgresEcgStore(database).find([("ada", "10")])
    [receipt] = await PostgresEcgStore(database).add([a_submission("10")])

    assert found == {}
    assert (receipt.is_new, receipt.key) == (True, EcgKey("ada", "10", 1))


async def test_pages_follow_each_other_and_a_long_ecg_ends_one(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_module, "PAGE", 3)
    await PostgresEcgStore(database).add([a_submission(f"{number}") for number in range(10)])
    for number in range(10):
        await a_finished_ecg(database, f"{number}", is_there=True)
    await publish_all(database)
    await age(database)
    await execute(database, "UPDATE ecg SET num_samples = 6000000 WHERE id = '2'")
    told: list[int] = []
    retention = PostgresRetention(database)

    await prune(
        await retention.now() - _90_DAYS,
        _NOTE,
        ecgs_per_s=1_000_000,
        retention=retention,
        operations=PostgresOperations(database),
        on_page=told.append,
    )

    assert told == [3, 6, 9, 10, 10]
    assert await ids(database) == set()


async def test_several_at_once_erase_each_ecg_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention_module, "PAGE", 5)
    await PostgresEcgStore(database).add([a_submission(f"{number}") for number in range(40)])
    for number in range(40):
        await a_finished_ecg(database, f"{number}", is_there=True)
    await publish_all(database)
    await age(database)

    counts = await asyncio.gather(*(prune_90_days(database) for _ in range(3)))
    rest = await prune_90_days(database)

    assert sum(counts) + rest == 40
    assert await ids(database) == set()


async def test_younger_than_a_day_or_what_the_owner_set_is_refused(database: Database) -> None:
    retention = PostgresRetention(database)
    now = await retention.now()

    with pytest.raises(UnavailableError, match="kept for 1 day at the least"):
        await retention.prune(now - timedelta(hours=23), after_row=0, limit=1)
    await execute(database, "UPDATE retention SET least_age = '80 days'")
    with pytest.raises(UnavailableError, match="kept for 80 days at the least"):
        await retention.prune(now - timedelta(days=79), after_row=0, limit=1)
    await retention.prune(now - timedelta(days=81), after_row=0, limit=1)


async def test_a_prune_that_is_refused_leaves_no_record_of_one_that_began(database: Database) -> None:
    await execute(database, "UPDATE retention SET least_age = '91 days'")

    with pytest.raises(UnavailableError, match="kept for 91 days at the least"):
        await prune_90_days(database)

    assert await records(database) == []


async def test_processes_share_a_round_and_record_it(database: Database) -> None:
    for number in range(3):
        await a_finished_ecg(database, f"{number}")
    await publish_all(database)
    await age(database)
    retention = PostgresRetention(database)
    terms: dict[str, Any] = {"limit": 2, "next_round_in": timedelta(minutes=10)}

    shares = [await retention.prune_shared(_90_DAYS, **terms) for _ in range(4)]

    assert [share and share.ecgs for share in shares] == [2, 1, 0, None]
    assert [share and share.round_ecgs for share in shares] == [None, None, 3, None]
    assert [(who, why, what) for who, why, what, _ in await records(database)] == [
        ("retention", "older than 90 days", "prune"),
        ("retention", "older than 90 days", "pruned"),
    ]
    assert (await records(database))[1][3]["ecgs"] == 3


async def test_a_round_is_not_put_off_by_a_clock_that_was_set_back(database: Database) -> None:
    retention = PostgresRetention(database)
    terms: dict[str, Any] = {"limit": 2, "next_round_in": timedelta(minutes=10)}
    await execute(database, "UPDATE retention SET next_at = now() + interval '1 year'")

    assert await retention.prune_shared(_90_DAYS, **terms) is not None
    assert await retention.prune_shared(_90_DAYS, **terms) is None


async def test_one_page_at_a_time_is_erased_for_all_processes(database: Database) -> None:
    retention = PostgresRetention(database)
    async with database.connection() as connection, connection.transaction():
        await connection.execute("SELECT FROM retention FOR UPDATE")

        share = await retention.prune_shared(_90_DAYS, limit=2, next_round_in=timedelta(minutes=10))

    assert share is None


async def test_the_retention_of_a_process_erases_what_is_too_old(database: Database) -> None:
    await a_finished_ecg(database, "old")
    await publish_all(database)
    await age(database)
    await a_finished_ecg(database, "young")
    await publish_all(database)

    async def is_only_the_young_one_there() -> bool:
        return await ids(database) == {"young"}

    async with open_retention(PostgresRetention(database), older_than=_90_DAYS, ecgs_per_s=1000):
        await until(is_only_the_young_one_there)


async def test_without_a_retention_all_is_kept(database: Database) -> None:
    await a_finished_ecg(database, "old")
    await publish_all(database)
    await age(database)

    async with open_retention(PostgresRetention(database), older_than=None, ecgs_per_s=1000):
        await asyncio.sleep(0)

    assert await ids(database) == {"old"}


async def test_on_an_older_schema_the_retention_says_what_to_do_and_waits(
    database: Database, database_url: str
) -> None:
    await migrate(database_url, to=_SCHEMA_BEFORE)

    async def is_said() -> bool:
        return any("isoline migrate" in str(record.get("reason")) for record in log)

    with capture_logs() as log:
        async with open_retention(PostgresRetention(database), older_than=_90_DAYS, ecgs_per_s=1000):
            await until(is_said)


async def test_logins_that_ended_and_old_records_go_too(database: Database) -> None:
    await execute(
        database,
        """
        INSERT INTO account (name, password_hash, roles) VALUES ('ada', '', '{}');
        INSERT INTO login (id, account, account_version, token_hash, expires_at)
        SELECT gen_random_uuid(), 'ada', 1, '', now() + days * interval '1 day'
        FROM unnest(ARRAY[-2, 2]) AS days;
        INSERT INTO operation (at, who, why, what, subject)
        SELECT now() - days * interval '1 day', 'olga', 'why', days::text, '{}'
        FROM unnest(ARRAY[401, 399]) AS days;
        """,
    )

    await PostgresRetention(database).prune_records()

    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM login WHERE expires_at > now()") == 1
        assert await connection.fetchval("SELECT count(*) FROM login") == 1
    assert [what for _, _, what, _ in await records(database)] == ["399"]


async def test_the_command_counts_asks_erases_and_records(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOLINE_DATABASE_URL", database_url)
    await a_finished_ecg(database, "old")
    await a_finished_ecg(database, "older", error="no")
    await publish_all(database)
    await age(database)
    await a_finished_ecg(database, "young")

    async def run(*arguments: str, given: str = "") -> str:
        result = await asyncio.to_thread(
            CliRunner().invoke, app, ["prune", "--why", "kept for 90 days", *arguments], input=given
        )
        return result.output

    dry = await run("--older-than", "12w", "--dry-run")
    refused = await run("--older-than", "90d", given="n\n")
    assert await ids(database) == {"old", "older", "young"}
    monkeypatch.setenv("ISOLINE_RETENTION_DAYS", "90")
    done = await run("--yes", "--who", "olga")

    assert dry.startswith("2 ECGs that were finished before ")
    assert dry.endswith("will be erased (nothing was done)\n")
    assert "Aborted" in refused
    assert done == "2 ECGs were erased.\n"
    assert await ids(database) == {"young"}
    [began, ended] = await records(database)
    assert began[:3] == ("olga", "kept for 90 days", "prune")
    assert ended[:3] == ("olga", "kept for 90 days", "pruned")
    assert ended[3] == {**began[3], "ecgs": 2}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say how old"),
        (["--older-than", "90"], "expected a number and a unit"),
        (["--older-than", "0d"], "expected a number and a unit"),
    ],
)
def test_the_command_wants_an_age(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["prune", "--why", "x", *arguments])

    assert result.exit_code != 0
    assert said in result.output + str(result.exception)


def _now() -> datetime:
    return datetime.now(UTC)
