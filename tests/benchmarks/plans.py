"""``python -m tests.benchmarks plans``: how PostgreSQL runs each hot query when its tables are large.

Each is caught on its way from the storage adapters, with its arguments, so that what is shown is what the
services send. Each is run, undone, and run again under EXPLAIN, with the generic plan that a connection's
prepared statements come to have.
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import asyncpg

from shared.events import EcgKey, processed
from shared.ports import Settlement
from shared.storage.postgres import Database
from shared.storage.postgres_ecgs import PostgresEcgStore
from shared.storage.postgres_outbox import PostgresOutbox
from shared.storage.postgres_owned_ecgs import PostgresOwnedEcgs
from tests.benchmarks import filling
from tests.benchmarks.pipelines import OWNER, open_isoline
from tests.benchmarks.report import say
from tests.benchmarks.servers import open_servers
from tests.builders import a_submission

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncpg.connection import LoggedQuery

    from shared.domain.insights import JsonValue
    from shared.ports import Claim

_FINISHED: Final = 1_000_000
_QUEUED: Final = 100_000
_BATCH: Final = 64
_PAGE: Final = 512
_MAX_BACKLOG: Final = 100_000
_WITHIN_S: Final = 60.0

_BYTES: Final = """
SELECT sum(pg_total_relation_size(relation::regclass)) / (SELECT count(*) FROM ecg)
FROM unnest('{ecg,ecg_signal,ecg_insights}'::text[]) AS relation
"""
_DUE: Final = "UPDATE ecg SET due_at = now() - interval '1 second' WHERE id LIKE 'queued-_____'"
_EVENTS: Final = """
INSERT INTO outbox (event_id, type, body, due_at)
SELECT gen_random_uuid(), 'ecg.processed', '{}', now() - interval '1 second' FROM generate_series(1, 100000)
"""


async def show_plans() -> int:
    """Print the plan of each hot query; the exit status."""
    async with open_servers() as servers:
        async with open_isoline(servers) as isoline:
            await filling.plant(isoline)
        say(f"{_FINISHED:,} finished ECGs of 1,000 owners, {_QUEUED:,} that are queued, 100,000 events")
        await filling.fill_finished(isoline, 1, _FINISHED, owners=1000)
        await filling.fill_queued(isoline, 1, _QUEUED)
        size = await isoline.query(_BYTES)
        say(f"{size:,.0f} bytes on disk for each, of 3 samples, in all tables and indexes")
        for statement in (_DUE, _EVENTS, "VACUUM ANALYZE"):
            await isoline.query(statement, timeout_s=_WITHIN_S)
        async with asyncpg.create_pool(servers.database_url, command_timeout=_WITHIN_S) as pool:
            await _explain_all(_Explaining(pool))
    return 0


class _Explaining(Database):
    """A database that undoes each statement and then prints its plan."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        super().__init__(pool)
        self.title = ""

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        caught: list[LoggedQuery] = []
        async with self._pool.acquire() as connection:
            async with _undone(connection):
                with connection.query_logger(caught.append):
                    yield connection
            for query in {each.query: each for each in caught if _is_ours(each)}.values():
                await self._explain(connection, query)

    async def _explain(self, connection: Any, query: LoggedQuery) -> None:
        async with _undone(connection):
            await connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
            rows = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS) {query.query}", *query.args)
        plan = "\n".join(row[0] for row in rows)
        say(f"\n### {self.title}\n\n```\n{plan}\n```")


def _is_ours(query: LoggedQuery) -> bool:
    """The library asks for types of its own accord."""
    return "pg_catalog" not in query.query and re.search(r"\b(ecg|outbox)", query.query) is not None


@asynccontextmanager
async def _undone(connection: Any) -> AsyncIterator[None]:
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


async def _explain_all(database: _Explaining) -> None:
    store, outbox, owned = PostgresEcgStore(database), PostgresOutbox(database), PostgresOwnedEcgs(database)
    keys = [EcgKey(OWNER, f"queued-{number}") for number in range(1, _BATCH + 1)]

    database.title = f"Submit {_BATCH} ECGs"
    await store.add([a_submission(f"new-{number}", owner=OWNER) for number in range(_BATCH)])
    database.title = f"Look for {_BATCH} ECGs, as GETs that came together do"
    await store.find([(key.owner, key.id) for key in keys])
    database.title = "The first page of an owner's ECGs"
    await owned.page("owner-7", limit=20)
    database.title = f"Claim {_BATCH} queued ECGs"
    claims = (await store.claim(keys, claim_id=uuid4())).claimed
    assert len(claims) == _BATCH
    database.title = f"Load {_BATCH} claimed ECGs"
    await store.load(claims)
    database.title = f"Settle {_BATCH} claimed ECGs"
    await store.settle([_settlement(claim) for claim in claims])
    database.title = f"Take {_PAGE} of the queued ECGs that are due, as the relay does"
    await outbox.take_due_ecgs(_PAGE)
    database.title = f"Take {_PAGE} of the events that are due, as the relay does"
    events = await outbox.take_due_events(_PAGE)
    database.title = f"Clear {_BATCH} events that were told"
    await outbox.clear([event.id for event in events[:_BATCH]])
    database.title = "Measure the backlog, once a second in each gateway"
    await store.count_queued(_MAX_BACKLOG)


def _settlement(claim: Claim) -> Settlement:
    document: dict[str, JsonValue] = {"leads": [{"I": {"zero_crossings": 2}}]}
    event = processed(claim.key, document, now=datetime.now(UTC), traceparent=None)
    return Settlement(claim, event, document=document)
