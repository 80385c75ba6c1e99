"""Tables as they are after a long time, made of copies of one real ECG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import aiohttp
import asyncpg

from shared.broker.rabbitmq.publisher import open_rabbitmq_publisher
from shared.broker.topology import Topology
from shared.events import MAX_ECGS_PER_EVENT, EcgKey, submitted_event
from tests.programs.benchmarks.pipelines import OWNER, PATH
from tests.support.builders import SOURCE, an_ecg_body

if TYPE_CHECKING:
    from datetime import datetime

    from tests.programs.benchmarks.pipelines import Pipeline

_TEMPLATE: Final = "template"
_AT_A_TIME: Final = 50_000
_WITHIN_S: Final = 300.0

_COLUMNS: Final = """
SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attname <> ALL ($2::text[])
"""
# What differs from copy to copy, or between a finished ECG and one that nobody has tried yet.
_OWN: Final = (
    *("row", "owner", "id", "status", "due_at", "submitted_at", "finished_at"),
    *("attempts", "claimed_by", "republished"),
)

# Whatever columns a later migration brings are copied as they are.
_COPY: Final = """
WITH template AS (
    SELECT * FROM ecg WHERE owner = $3 AND id = $4
), new AS (
    INSERT INTO ecg (owner, id, status, due_at, submitted_at, finished_at, {ecg})
    SELECT CASE WHEN $6::bigint = 1 THEN $3::text ELSE 'owner-' || n % $6 END, $5::text || '-' || n,
        CASE WHEN $7::boolean THEN 'queued' ELSE 'completed' END,
        CASE WHEN $7 THEN now() + interval '9 minutes' END,
        now() - interval '1 day' + n * interval '1 millisecond',
        CASE WHEN $7 THEN NULL ELSE now() END,
        {ecg}
    FROM generate_series($1::bigint, $2::bigint) AS n, template
    RETURNING row
), signals AS (
    INSERT INTO ecg_signal (row, {signal})
    SELECT new.row, {signal} FROM new, ecg_signal AS present WHERE present.row = (SELECT row FROM template)
)
INSERT INTO ecg_insights (row, {insights})
SELECT new.row, {insights} FROM new, ecg_insights AS present
WHERE NOT $7 AND present.row = (SELECT row FROM template)
"""


async def plant(pipeline: Pipeline) -> None:
    """Have the one ECG done that all others are copies of. Planting again changes nothing."""
    [token] = pipeline.tokens()
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(pipeline.address, headers=headers, raise_for_status=True) as session:
        await session.post(PATH, json=an_ecg_body(id=_TEMPLATE))
        await session.get(f"/ecg/{_TEMPLATE}", params={"wait": 30})


async def fill_finished(pipeline: Pipeline, first: int, last: int, *, owners: int = 1) -> None:
    """Add finished ECGs, numbered from first to last."""
    await _fill(pipeline, "finished", first, last, owners=owners, is_queued=False)


async def fill_queued(pipeline: Pipeline, first: int, last: int) -> None:
    """Add queued ECGs that nobody has announced yet, nor will the relay for nine minutes.

    What lies more than ten minutes ahead it would announce at once, for a clock went back.
    """
    await _fill(pipeline, "queued", first, last, owners=1, is_queued=True)


async def announce(amqp_url: str, first: int, last: int, *, now: datetime) -> None:
    """Put the messages of queued ECGs into the processor's queue, as a gateway does."""
    keys = [EcgKey(OWNER, f"queued-{number}", 1) for number in range(first, last + 1)]
    batches = [keys[start : start + MAX_ECGS_PER_EVENT] for start in range(0, len(keys), MAX_ECGS_PER_EVENT)]
    async with open_rabbitmq_publisher(amqp_url, topology=Topology("")) as publisher:
        failures = await publisher.publish(
            [submitted_event(batch, source=SOURCE, now=now) for batch in batches]
        )
    assert failures == [None] * len(batches)


async def _fill(
    pipeline: Pipeline, name: str, first: int, last: int, *, owners: int, is_queued: bool
) -> None:
    connection = await asyncpg.connect(pipeline.database_url, timeout=10)
    try:
        columns = {
            "ecg": await connection.fetchval(_COLUMNS, "ecg", _OWN),
            "signal": await connection.fetchval(_COLUMNS, "ecg_signal", ("row",)),
            "insights": await connection.fetchval(_COLUMNS, "ecg_insights", ("row",)),
        }
        copy = _COPY.format(**columns)
        for start in range(first, last + 1, _AT_A_TIME):
            end = min(start + _AT_A_TIME - 1, last)
            who = (OWNER, _TEMPLATE, name, owners, is_queued)
            await connection.execute(copy, start, end, *who, timeout=_WITHIN_S)
        await connection.execute("VACUUM ANALYZE", timeout=_WITHIN_S)
        await connection.execute("CHECKPOINT", timeout=_WITHIN_S)
    finally:
        await connection.close(timeout=5)
