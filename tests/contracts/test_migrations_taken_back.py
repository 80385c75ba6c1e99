"""Every migration can be taken back, with ECGs in the tables, and leaves the schema as it was before it."""

from __future__ import annotations

import shutil
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import asyncpg
from pogo_core.util import migrate as pogo

from shared.storage.schema.compatibility import MIGRATIONS
from tests.support.databases import open_empty_database

if TYPE_CHECKING:
    from pathlib import Path

_SCHEMA: Final = "public"

# Names of their own are compared too: migrations refer to them.
_DESCRIPTION: Final = """
SELECT relation::text, part FROM (
    SELECT attrelid::regclass, attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull
    FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT conrelid::regclass, conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
    UNION ALL
    SELECT tgrelid::regclass, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT indrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index
    UNION ALL
    SELECT oid::regclass, reloptions::text FROM pg_class WHERE reloptions IS NOT NULL
    UNION ALL
    SELECT NULL, pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
) AS described (relation, part)
WHERE relation IS NULL
    OR relation IN (
        SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname !~ '^_pogo'
    )
ORDER BY relation::text, part
"""
_AN_ECG: Final = """
WITH new AS (
    INSERT INTO ecg (owner, id, content_hash, num_samples, status, finished_at)
    VALUES ('ada', '10', 'x', 3, 'completed', now()) RETURNING row
), signal AS (
    INSERT INTO ecg_signal (row, date, leads, encoding, samples) SELECT row, '', '[]', '', '' FROM new
)
INSERT INTO ecg_insights (row, generation, document) SELECT row, 1, '{}' FROM new
"""
_AN_EVENT: Final = (
    "INSERT INTO outbox (event_id, type, body, due_at) VALUES (gen_random_uuid(), 'x', 'y', now())"
)
_EVENTS: Final = "SELECT event_id, type, body, republished, due_at, created_at FROM outbox ORDER BY event_id"
_A_BATCH: Final = """
INSERT INTO outbox (bundle_id, event_ids, types, bodies, republished, due_at) VALUES
    (gen_random_uuid(), ARRAY[gen_random_uuid(), gen_random_uuid()], '{p,q}', '{r,s}', 7, now())
"""
_ITS_EVENTS: Final = "SELECT type, body FROM outbox WHERE republished = 7 ORDER BY type"


def without_what_stays(description: list[asyncpg.Record]) -> list[asyncpg.Record]:
    names = {"schema_compatibility", "installation", "retention", "attempt", "api_key"}
    names |= {"webhook", "webhook_delivery"}
    indexes = {*(f"{name}_pkey" for name in names), "api_key_account", "api_key_secret_hash_key"}
    indexes |= {"webhook_account", *(f"webhook_delivery_{of}" for of in ("event", "newest", "due", "ecg"))}
    tables = {*names, *indexes, "webhook_delivery_row_seq"}
    columns = ("past_error ", "past_finished_at ")
    return [
        row for row in description if row["relation"] not in tables and not row["part"].startswith(columns)
    ]


async def test_each_migration_leaves_the_schema_as_it_was_when_it_is_taken_back(
    postgres_url: str, tmp_path: Path
) -> None:
    async with open_empty_database(postgres_url) as url:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            states = [await connection.fetch(_DESCRIPTION)]
            for path in sorted(MIGRATIONS.glob("*.sql")):
                shutil.copy(path, tmp_path)
                await pogo.apply(connection, tmp_path, schema_name=_SCHEMA)
                states.append(await connection.fetch(_DESCRIPTION))
                if len(states) == 2:
                    await connection.execute(_AN_ECG)
                    await connection.execute(_AN_EVENT)
                    events = await connection.fetch(_EVENTS)
            assert all(before != after for before, after in pairwise(states))

            await connection.execute(_A_BATCH)

            for before in reversed(states[:-1]):
                if before is states[0]:
                    of_the_batch = [tuple(event) for event in await connection.fetch(_ITS_EVENTS)]
                    assert of_the_batch == [("p", b"r"), ("q", b"s")]
                    await connection.execute("DELETE FROM outbox WHERE republished = 7")
                    assert await connection.fetch(_EVENTS) == events
                await pogo.rollback(connection, tmp_path, schema_name=_SCHEMA, count=1)
                left = await connection.fetch(_DESCRIPTION)
                assert without_what_stays(left) == without_what_stays(before)
        finally:
            await connection.close()
