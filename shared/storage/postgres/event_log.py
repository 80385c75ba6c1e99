"""The event log in PostgreSQL: a row for each transaction that made events, and their bodies made again."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson

from shared.domain.errors import ForgottenError
from shared.events import EcgKey, EventType, deleted_event, failed_event, processed_event
from shared.ports.event_log import LoggedEvent, LogPage, LogPosition
from shared.storage.postgres.ecgs import key_arrays

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from datetime import datetime

    import asyncpg

    from shared.events import Event
    from shared.ports.event_source import EventSource
    from shared.storage.pool.database import Connection, Database


# Of one read; most of them may be of other owners or types.
_ROWS: Final = 1000
_AFTER_ALL_OF_IT: Final = 2**31 - 1

# No transaction that can still commit is older than the oldest that runs. What is committed later is so after
# all of these, whatever its own number is, and no cursor has passed it.
_END: Final = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text"
# Were the text named xid, it would be ordered by that: 999 after 1000.
_NEWEST: Final = """
SELECT xid::text AS newest FROM event_log WHERE xid < (SELECT pg_snapshot_xmin(pg_current_snapshot()))
ORDER BY xid DESC LIMIT 1
"""
_READ: Final = """
WITH chunk AS MATERIALIZED (
    SELECT xid, at, types, owners, ids, generations, traceparents FROM event_log
    WHERE xid >= $1::text::xid8 AND xid < (SELECT pg_snapshot_xmin(pg_current_snapshot()))
        AND ($2::timestamptz IS NULL OR logged_at >= $2)
    ORDER BY xid LIMIT $3
)
SELECT oldest_running, forgotten, ahead, is_whole, last, chunk.xid::text AS xid, at, types, owners, ids,
    generations, traceparents
FROM (
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS oldest_running,
        (SELECT xid > $1::text::xid8 FROM event_log_start) AS forgotten,
        $1::text::xid8 >= pg_snapshot_xmax(pg_current_snapshot()) AS ahead,
        (SELECT count(*) FROM chunk) < $3 AS is_whole,
        (SELECT max(xid::text::numeric) FROM chunk)::text AS last
) AS state
LEFT JOIN chunk ON ($4::text IS NULL OR owners @> ARRAY[$4::text]) AND types && $5::text[]
ORDER BY chunk.xid
"""

_FIND: Final = """
SELECT xid::text AS xid, at, types, owners, ids, generations, traceparents FROM event_log
WHERE xid = ANY($1::text[]::xid8[])
"""

# Past generations keep their result, or why they failed, beside the results.
_TRUTH: Final = """
SELECT wanted.owner, wanted.id, wanted.generation, traceparent, document,
    CASE WHEN ecg.generation = wanted.generation THEN error ELSE past_error END AS error
FROM unnest($1::text[], $2::text[], $3::integer[]) AS wanted (owner, id, generation)
JOIN ecg ON ecg.owner = wanted.owner AND ecg.id = wanted.id
LEFT JOIN ecg_insights ON ecg_insights.row = ecg.row AND ecg_insights.generation = wanted.generation
"""


class _Entry(NamedTuple):
    """An event as the log has it."""

    position: LogPosition
    at: datetime
    type: EventType
    key: EcgKey
    traceparent: str | None
    has_traceparent: bool


class PostgresEventLog:
    """`shared.ports.event_log.EventLog` on PostgreSQL."""

    def __init__(self, database: Database, event_source: EventSource) -> None:
        self._database = database
        self._event_source = event_source

    async def end(self) -> LogPosition:
        async with self._database.connection() as connection:
            return _before(await connection.fetchval(_END))

    async def newest(self) -> int:
        async with self._database.connection() as connection:
            return int(await connection.fetchval(_NEWEST) or 0)

    async def read(
        self,
        after: LogPosition | None,
        *,
        limit: int,
        types: Collection[EventType],
        owner: str | None = None,
        since: datetime | None = None,
    ) -> LogPage:
        source = await self._event_source.uri()
        begin = after or LogPosition(0, 0)
        async with self._database.connection() as connection:
            rows = await connection.fetch(_READ, str(begin.transaction), since, _ROWS, owner, list(types))
            if after is not None and (rows[0]["forgotten"] or rows[0]["ahead"]):
                raise ForgottenError(
                    "What followed this cursor is kept no longer, or was never here: begin anew, without one."
                )
            wanted = (
                entry
                for entry in _entries(rows)
                if entry.position > begin and entry.type in types and owner in {None, entry.key.owner}
            )
            entries = list(islice(wanted, limit + 1))
            page = entries[:limit]
            truth = await _read_truth(connection, [entry.key for entry in page])
        events = list(_logged(page, truth, source))
        if len(entries) > limit:
            return LogPage(events, page[-1].position, has_more=True)
        if not rows[0]["is_whole"]:
            return LogPage(events, LogPosition(int(rows[0]["last"]), _AFTER_ALL_OF_IT), has_more=True)
        return LogPage(events, max(begin, _before(rows[0]["oldest_running"])), has_more=False)

    async def find(self, positions: Sequence[LogPosition]) -> dict[LogPosition, LoggedEvent]:
        source = await self._event_source.uri()
        async with self._database.connection() as connection:
            rows = await connection.fetch(_FIND, list({str(each.transaction) for each in positions}))
            wanted = set(positions)
            found = [entry for entry in _entries(rows) if entry.position in wanted]
            truth = await _read_truth(connection, [entry.key for entry in found])
        return {logged.position: logged for logged in _logged(found, truth, source)}


def _before(transaction: str) -> LogPosition:
    return LogPosition(int(transaction) - 1, _AFTER_ALL_OF_IT)


def _entries(rows: Sequence[asyncpg.Record]) -> Iterator[_Entry]:
    for row in rows:
        if row["xid"] is None:
            return
        transaction, traceparents = int(row["xid"]), row["traceparents"]
        for index, (type_, *key) in enumerate(
            zip(row["types"], row["owners"], row["ids"], row["generations"], strict=True)
        ):
            yield _Entry(
                LogPosition(transaction, index + 1),
                row["at"],
                EventType(type_),
                EcgKey(*key),
                None if traceparents is None else traceparents[index],
                traceparents is not None,
            )


async def _read_truth(connection: Connection, keys: Sequence[EcgKey]) -> dict[EcgKey, asyncpg.Record]:
    rows = await connection.fetch(_TRUTH, *key_arrays(keys))
    return {EcgKey(row["owner"], row["id"], row["generation"]): row for row in rows}


def _logged(
    entries: Iterable[_Entry], truth: dict[EcgKey, asyncpg.Record], source: str
) -> Iterator[LoggedEvent]:
    for entry in entries:
        event = _event(entry, truth, source)
        if event is not None:
            yield LoggedEvent(event, entry.position, entry.key)


def _event(entry: _Entry, truth: dict[EcgKey, asyncpg.Record], source: str) -> Event | None:
    """The event as it was published first; None if what it would say was erased."""
    named: dict[str, Any] = {"source": source, "now": entry.at}
    if entry.type is EventType.DELETED:
        return deleted_event(entry.key, **named, traceparent=entry.traceparent)
    found = truth.get(entry.key)
    if found is None:
        return None
    traceparent = entry.traceparent if entry.has_traceparent else found["traceparent"]
    if entry.type is EventType.FAILED:
        error = found["error"]
        return error and failed_event(entry.key, error, **named, traceparent=traceparent)
    document = found["document"]
    return document and processed_event(entry.key, orjson.loads(document), **named, traceparent=traceparent)
