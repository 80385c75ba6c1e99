"""The hot queries of the storage adapters, and how PostgreSQL runs each of them.

Each is caught on its way from the adapters, with its arguments, so that what is shown is what the services
send. Each is run, undone, and run again under EXPLAIN as a prepared statement in a session like theirs: with
the plan that was made when it was first run on this connection.
"""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import uuid4

import asyncpg

from shared.events import EcgKey, EventBatch, deleted_event, processed_event
from shared.ports.ecgs import Claim, Settlement, Status
from shared.ports.outbox import FIRST_DUE_AFTER_S, REPUBLISH_BACKOFF
from shared.storage.pool.database import SESSION, Database
from shared.storage.pool.hosts import Hosts
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.header_column import HeaderColumn
from shared.storage.postgres.outbox import PostgresOutbox
from shared.storage.postgres.owned_ecgs import PostgresOwnedEcgs
from shared.storage.postgres.submissions import add, encode_submission
from tests.support.builders import SOURCE, a_submission

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncpg.connection import LoggedQuery

    from shared.domain.findings import JsonValue
    from shared.ports.ecgs import Submission

# Fills the outbox with so many batches of two events that are due.
DUE_EVENT_BATCHES: Final = """
INSERT INTO outbox (bundle_id, event_ids, types, bodies, due_at)
SELECT id, ARRAY[id, gen_random_uuid()], '{{ecg.processed,ecg.failed}}', ARRAY['{{}}'::bytea, '{{}}'],
    now() - interval '1 second'
FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, {count})) AS event
"""

_BATCH: Final = 64
_PAGE: Final = 512
_OWNERS_PAGE: Final = 20


class Plan(NamedTuple):
    """The plan of one statement.

    Attributes:
        explained: What EXPLAIN said, in the format that was asked for.
        num_rows: How many rows the statement is about.
    """

    title: str
    explained: str
    num_rows: int


class ExplainingDatabase(Database):
    """A database that rolls back each statement and records its plan."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], url: str, explain: str) -> None:
        super().__init__(pool, Hosts(url))
        self._explain_with = explain
        self._prepared: dict[str, str] = {}
        self._about = ("", 0)
        self._plans: list[Plan] = []

    def about(self, title: str, num_rows: int) -> None:
        """Set the title of the next statements."""
        self._about = title, num_rows

    def take_plans(self) -> list[Plan]:
        """The plans since they were last taken."""
        plans, self._plans = self._plans, []
        return plans

    @asynccontextmanager
    async def connection(self, *, writes: str = "") -> AsyncIterator[Any]:  # noqa: ARG002 - everything is rolled back
        caught: list[LoggedQuery] = []
        async with self._pool.acquire() as connection:
            async with _undone(connection):
                with connection.query_logger(caught.append):
                    yield connection
            settings = [each.query for each in caught if each.query.startswith("SET LOCAL")]
            for query in {each.query: each for each in caught if _is_ours(each)}.values():
                await self._explain(connection, query, settings)

    async def _explain(self, connection: Any, query: LoggedQuery, settings: list[str]) -> None:
        title, num_rows = self._about
        literals = await _literals(connection, query)
        if query.query not in self._prepared:
            self._prepared[query.query] = f"hot_{len(self._prepared)}"
            await connection.execute(f"PREPARE {self._prepared[query.query]} AS {query.query}")
        execute = f"EXECUTE {self._prepared[query.query]} {literals}"
        async with _undone(connection):
            for setting in settings:
                await connection.execute(setting)
            rows = await connection.fetch(f"EXPLAIN ({self._explain_with}) {execute}")
        self._plans.append(Plan(title, "\n".join(row[0] for row in rows), num_rows))


@asynccontextmanager
async def open_explaining_database(
    url: str, *, explain: str = "ANALYZE, BUFFERS", timeout_s: float = 60
) -> AsyncIterator[ExplainingDatabase]:
    """Yield a database of one connection, whose plans are cached as in the services."""
    async with asyncpg.create_pool(
        url, min_size=1, max_size=1, command_timeout=timeout_s, server_settings=SESSION
    ) as pool:
        yield ExplainingDatabase(pool, url, explain)


async def explain_hot_queries(database: ExplainingDatabase, *, owner: str, max_backlog: int) -> list[Plan]:
    """The plan of each; the owner has ECGs ``queued-1``, ``erased-1`` and so on, or none yet."""
    keys = [EcgKey(owner, f"queued-{number}") for number in range(1, _BATCH + 1)]
    await _explain_a_gateways(database, keys, max_backlog)
    await _explain_a_processors(database, keys)
    await _explain_a_relays(database, keys)
    return database.take_plans()


async def _explain_a_gateways(database: ExplainingDatabase, keys: list[EcgKey], max_backlog: int) -> None:
    store, owned, owner = PostgresEcgStore(database), PostgresOwnedEcgs(database), keys[0].owner
    database.about(f"Submit {_BATCH} ECGs", _BATCH)
    await store.add([a_submission(f"new-{number}", owner=owner) for number in range(_BATCH)])
    database.about(f"Submit {_BATCH} ECGs that are there already", _BATCH)
    await _add_twice(database, [a_submission(key.id, owner=owner) for key in keys])
    database.about(f"Submit {_BATCH} ECGs that were erased", _BATCH)
    await store.add([a_submission(f"erased-{number}", owner=owner) for number in range(1, _BATCH + 1)])
    database.about(f"Look for {_BATCH} ECGs, as GETs that came together do", _BATCH)
    await store.find([(key.owner, key.id) for key in keys])
    database.about("The first page of an owner's ECGs", _OWNERS_PAGE)
    await owned.page(owner, limit=_OWNERS_PAGE)
    for status in (Status.QUEUED, Status.FAILED):  # most are completed: a page of those is one of all
        database.about(f"The first page of an owner's ECGs that are {status}", _OWNERS_PAGE)
        await owned.page(owner, limit=_OWNERS_PAGE, status=status)
    database.about("Erase an ECG", 1)
    await owned.erase(
        *keys[0][:2], event_of=partial(deleted_event, source=SOURCE, now=datetime.now(UTC), traceparent=None)
    )
    database.about("Measure the backlog, once a second in each gateway", max_backlog)
    await store.count_queued(max_backlog)


async def _add_twice(database: ExplainingDatabase, submissions: list[Submission]) -> None:
    """In one transaction, so that they are there the second time even where nothing was."""
    encoded = [await encode_submission(submission) for submission in submissions]
    async with database.connection() as connection:
        for _ in range(2):
            await add(connection, encoded, due_in_s=FIRST_DUE_AFTER_S, header_column=HeaderColumn())


async def _explain_a_processors(database: ExplainingDatabase, keys: list[EcgKey]) -> None:
    store = PostgresEcgStore(database)
    database.about(f"Claim {_BATCH} queued ECGs, and load those of them that are small enough", _BATCH)
    found = (await store.claim(keys, claim_id=uuid4(), load_samples=1_000_000)).claimed
    claims = found or [_claim(key, row) for row, key in enumerate(keys)]
    database.about(f"Load {_BATCH} claimed ECGs", _BATCH)
    await store.load(claims)
    database.about(f"Settle {_BATCH} claimed ECGs", _BATCH)
    await store.settle([_settlement(claim) for claim in claims])
    database.about(f"Postpone {_BATCH} ECGs", _BATCH)
    await store.postpone(keys, delay_s=1, reason="why")


async def _explain_a_relays(database: ExplainingDatabase, keys: list[EcgKey]) -> None:
    outbox = PostgresOutbox(database)
    database.about(f"Take {_PAGE} of the queued ECGs that are due, as the relay does", _PAGE)
    await outbox.take_due_ecgs(_PAGE, REPUBLISH_BACKOFF)
    database.about(f"Put back {_BATCH} queued ECGs that could not be announced", _BATCH)
    await outbox.put_back_ecgs(keys)
    database.about(f"Take {_PAGE} of the events that are due, as the relay does", _PAGE)
    batches = await outbox.take_due_events(_PAGE, REPUBLISH_BACKOFF) or [
        EventBatch(uuid4(), [_settlement(_claim(keys[0], 1)).event])
    ]
    database.about("Delete some events of a batch, which were published", 1)
    await outbox.keep_unconfirmed(batches[0]._replace(events=batches[0].events[-1:]))
    batch_ids = [batch.id for batch in batches[:_BATCH]]
    database.about(f"Clear {_BATCH} batches of events that were published", _BATCH)
    await outbox.clear(batch_ids)
    database.about(f"Drop {_BATCH} batches of events that are unrouted", _BATCH)
    await outbox.drop_unrouted(batch_ids)


def _claim(key: EcgKey, row: int) -> Claim:
    return Claim(row, key, 1, 3, None, 0.0)


def _settlement(claim: Claim) -> Settlement:
    document: dict[str, JsonValue] = {"leads": [{"I": {"zero_crossings": 2}}]}
    event = processed_event(claim.key, document, source=SOURCE, now=datetime.now(UTC), traceparent=None)
    return Settlement(claim, event, document=document)


def _is_ours(query: LoggedQuery) -> bool:
    """Whether a query is ours, and not one of the library's for types."""
    return "pg_catalog" not in query.query and re.search(r"\b(ecg|outbox)", query.query) is not None


async def _literals(connection: Any, query: LoggedQuery) -> str:
    """The arguments as EXECUTE takes them, written by the server itself; with $1 it takes none."""
    types = [each.name for each in (await connection.prepare(query.query)).get_parameters()]
    quoted = [
        await connection.fetchval(f"SELECT quote_nullable($1::{name}::text)", argument)
        for name, argument in zip(types, query.args, strict=True)
    ]
    return f"({', '.join(quoted)})" if quoted else ""


@asynccontextmanager
async def _undone(connection: Any) -> AsyncIterator[None]:
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()
