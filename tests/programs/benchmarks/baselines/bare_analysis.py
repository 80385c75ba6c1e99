"""The processor's work without its bookkeeping.

``python -m tests.programs.benchmarks.baselines.bare_analysis DATABASE_URL AFTER COUNT`` reads rows from
PostgreSQL, decodes their signals and counts zero crossings, with the processor's own code and in batches of
its size. It prints the CPU seconds that it took for each ECG.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

import uvloop

from processor.insights.zero_crossings import count_zero_crossings
from shared.events import EcgKey
from shared.ports.ecgs import Claim
from shared.storage.pool.database import open_database
from shared.storage.postgres.ecgs import PostgresEcgStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.storage.pool.database import Database

_BATCH: Final = 64
_ROWS: Final = "SELECT row, owner, id, generation, num_samples FROM ecg WHERE row > $1 ORDER BY row LIMIT $2"


async def measure(database_url: str, after: int, count: int) -> float:
    """Seconds of CPU for each ECG."""
    async with open_database(database_url) as database:
        claims = await _claims(database, after, count)
        store = PostgresEcgStore(database)
        await _count(store, claims[:_BATCH])  # the first connection and its statement are not the work
        begun_s = time.process_time()
        for start in range(0, len(claims), _BATCH):
            await _count(store, claims[start : start + _BATCH])
        return (time.process_time() - begun_s) / len(claims)


async def _claims(database: Database, after: int, count: int) -> list[Claim]:
    async with database.connection() as connection:
        rows = await connection.fetch(_ROWS, after, count)
    return [
        Claim(
            row["row"], EcgKey(row["owner"], row["id"], row["generation"]), 1, row["num_samples"], None, 0.0
        )
        for row in rows
    ]


async def _count(store: PostgresEcgStore, claims: Sequence[Claim]) -> None:
    for stored in (await store.load(claims)).values():
        for lead in stored.decode().leads:
            count_zero_crossings(lead.signal, lead.baseline)


def main() -> None:
    """Print what was measured."""
    database_url, after, count = sys.argv[1:]
    sys.stdout.write(f"{uvloop.run(measure(database_url, int(after), int(count)))}\n")


if __name__ == "__main__":
    main()
