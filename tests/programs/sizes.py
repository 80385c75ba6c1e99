"""``python -m tests.programs.sizes``: what an ECG takes on the disk, and what it takes to erase it again.

It writes a table in Markdown, whose figures docs/operations.md has. PostgreSQL is one of its own.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import uuid4

from gateway.formats.json_reader import read_ecg_json
from processor.analysis import analyse
from processor.insights import INSIGHTS
from shared.domain.ecg import Ecg
from shared.events import processed_event
from shared.ports.ecgs import Settlement, Submission
from shared.retention import PAGE
from shared.runtime.settings import SubmissionLimits
from shared.storage.pool.database import open_database
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.operators.retention import PostgresRetention
from shared.storage.postgres.outbox import PostgresOutbox
from shared.storage.schema.migrations import migrate
from tests.programs.benchmarks.load.recordings import Recording, small, standard
from tests.programs.benchmarks.servers import OPTIONS
from tests.support.builders import SOURCE
from tests.support.databases import open_empty_database, open_private_postgres

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shared.storage.pool.database import Database

_KINDS: Final = (("SMALL", small, 100_000), ("STANDARD", standard, 10_000))
_BATCH: Final = 64
_RATE_HZ: Final = 100
_SECONDS_OF_A_DAY: Final = 24 * 3600
_GB: Final = 1e9
_TOLD: Final = """\
| bytes of an ECG | `ecg` | `ecg_insights` | `ecg_signal` | in all | log to store | log to erase | erased/s |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""

# With indexes and TOAST. The signals are in partitions.
_SIZES: Final = """
SELECT name, coalesce(sum(pg_total_relation_size(tree.relid)), 0)::bigint AS bytes
FROM unnest(ARRAY['ecg', 'ecg_insights', 'ecg_signal']) AS name,
    LATERAL (SELECT name::regclass AS relid UNION SELECT relid FROM pg_partition_tree(name::regclass)) AS tree
GROUP BY name ORDER BY name
"""
_LOG_BYTES: Final = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint"
# Two days ago, and with so many after them that their partition is past. No trigger lets a finished ECG
# change, so they don't fire.
_AGE: Final = """
SET session_replication_role = replica;
UPDATE ecg SET submitted_at = submitted_at - interval '2 days', finished_at = finished_at - interval '2 days';
RESET session_replication_role;
SELECT setval('ecg_row_seq', (SELECT max(end_row) FROM signal_partitions()));
"""


class Sizes(NamedTuple):
    """What so many ECGs took, in bytes."""

    ecgs: int
    tables: Sequence[int]
    log_to_store: int
    log_to_erase: int
    erase_s: float

    def row(self, kind: str) -> str:
        """A row of the table."""
        each = [*self.tables, sum(self.tables), self.log_to_store, self.log_to_erase]
        figures = [f"{size / self.ecgs:,.0f}" for size in each] + [f"{self.ecgs / self.erase_s:,.0f}"]
        return f"| {kind} | {' | '.join(figures)} |"

    def day(self, kind: str) -> str:
        """What a day of 100 ECGs a second takes."""
        day = _RATE_HZ * _SECONDS_OF_A_DAY / self.ecgs / _GB
        return (
            f"A day of {_RATE_HZ} {kind} ECGs a second: {day * sum(self.tables):,.0f} GB in tables, "
            f"{day * self.log_to_store:,.0f} GB of write-ahead log."
        )


async def main() -> None:
    """Measure each kind on a database of its own."""
    measured = {}
    async with open_private_postgres(OPTIONS) as server_url:
        for kind, recording, count in _KINDS:
            async with open_empty_database(server_url) as url:
                await migrate(url)
                async with open_database(url) as database:
                    measured[kind] = await _measure(database, recording(), count)
    lines = [_TOLD, *(sizes.row(kind) for kind, sizes in measured.items()), ""]
    lines += [sizes.day(kind) for kind, sizes in measured.items()]
    sys.stdout.write("\n".join(lines) + "\n")


async def _measure(database: Database, recording: Recording, count: int) -> Sizes:
    begin = await _log_bytes(database)
    await _store(database, recording, count)
    stored = await _log_bytes(database)
    await _execute(database, "VACUUM ANALYZE", "CHECKPOINT")
    tables = await _tables(database)
    await _execute(database, _AGE, "VACUUM ecg", "CHECKPOINT")
    to_erase, began_s = await _log_bytes(database), time.monotonic()
    await _erase(database)
    erase_s = time.monotonic() - began_s
    await _execute(database, "VACUUM")
    return Sizes(count, tables, stored - begin, await _log_bytes(database) - to_erase, erase_s)


async def _store(database: Database, recording: Recording, count: int) -> None:
    """Store and settle ECGs in batches, as the services do."""
    store, outbox = PostgresEcgStore(database), PostgresOutbox(database)
    now = datetime.now(UTC)
    body = recording.before_id + b"0123456789" + recording.after_id
    ecg = read_ecg_json(body, limits=SubmissionLimits(), now=now)
    document = analyse(ecg, INSIGHTS).document()
    for batch in _batches(ecg, count):
        receipts = await store.add([Submission("ada", ecg) for ecg in batch])
        claims = await store.claim([receipt.key for receipt in receipts], claim_id=uuid4())
        settled = await store.settle(
            [
                Settlement(
                    claim,
                    processed_event(claim.key, document, source=SOURCE, now=now, traceparent=None),
                    document=document,
                )
                for claim in claims.claimed
            ]
        )
        await outbox.clear([settled.id])


def _batches(ecg: Ecg, count: int) -> Iterator[list[Ecg]]:
    for start in range(0, count, _BATCH):
        yield [
            Ecg(replace(ecg.header, id=f"{number:010}"), [lead.signal for lead in ecg.leads])
            for number in range(start, min(start + _BATCH, count))
        ]


async def _erase(database: Database) -> None:
    """Erase all, as fast as it goes."""
    retention, row = PostgresRetention(database), 0
    before = await retention.now() - timedelta(days=1, minutes=1)
    while True:
        page = await retention.prune(before, after_row=row, limit=PAGE)
        if page.last_row is None:
            break
        row = page.last_row
    assert await retention.drop_signals()


async def _tables(database: Database) -> list[int]:
    async with database.connection() as connection:
        return [row["bytes"] for row in await connection.fetch(_SIZES)]


async def _log_bytes(database: Database) -> int:
    async with database.connection() as connection:
        found: int = await connection.fetchval(_LOG_BYTES)
    return found


async def _execute(database: Database, *statements: str) -> None:
    async with database.connection() as connection:
        for statement in statements:
            await connection.execute(statement, timeout=300)


if __name__ == "__main__":
    asyncio.run(main())
