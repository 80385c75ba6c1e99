"""I1 to I5 of the design, looked at in the table, at the broker and at what the subscriber heard."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import aio_pika.exceptions
import asyncpg
import orjson

from shared.broker.topology import Topology

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.world import World

_TOPOLOGY: Final = Topology()
_POLL_S: Final = 0.2

_OPEN: Final = """
SELECT (SELECT count(*) FROM ecg WHERE status = 'queued') AS queued, (SELECT count(*) FROM outbox) AS untold
"""
_ROWS: Final = """
SELECT id, generation, status, error, document, ecg_signal.row IS NOT NULL AS has_signal
FROM ecg LEFT JOIN ecg_signal USING (row) LEFT JOIN ecg_insights USING (row, generation)
"""


async def until_quiet(world: World, *, within_s: float) -> str | None:
    """Wait until nothing is left to do; what still is, if that takes too long."""
    until_s = time.monotonic() + within_s
    left: object = "?"
    while time.monotonic() < until_s:
        try:
            left = await _left(world)
        except (OSError, asyncpg.PostgresError, aio_pika.exceptions.AMQPError) as error:
            left = error
        if not left:
            return None
        await asyncio.sleep(_POLL_S)
    return f"stuck: {left}"


async def broken_invariants(world: World) -> list[str]:
    """Each breach in a sentence."""
    found = {row["id"]: row for row in await world.postgres.query(_ROWS)}
    rows = {ecg_id: row for ecg_id, row in found.items() if row["status"] != "erased"}
    letters = (await _depths(world))[1]
    return [
        *(f"I1 {ecg_id} was accepted and is gone" for ecg_id in world.accepted - rows.keys() - world.erased),
        *(f"I1 {ecg_id} was erased and is back" for ecg_id in world.erased & rows.keys()),
        *(breach for ecg_id, row in rows.items() for breach in _breaches(world, ecg_id, row)),
        *(f"I2 event {event_id} changed its content" for event_id in world.listener.changed),
        *(
            [f"I5 {letters} dead letters instead of {world.planted_letters}"]
            * (letters != world.planted_letters)
        ),
    ]


async def _left(world: World) -> dict[str, int]:
    [row] = await world.postgres.query(_OPEN)
    waiting, _ = await _depths(world)
    heard = world.listener.by_key
    expected = world.accepted - world.erased
    unheard = sum((ecg_id, world.generations.get(ecg_id, 1)) not in heard for ecg_id in expected)
    left = {"queued": row["queued"], "untold": row["untold"], "waiting": waiting, "unheard": unheard}
    return {what: count for what, count in left.items() if count}


async def _depths(world: World) -> tuple[int, int]:
    """Messages that wait for a processor, and dead letters."""
    async with asyncio.timeout(10), world.rabbitmq.channel() as channel:
        waiting = await channel.declare_queue(_TOPOLOGY.submitted_queue, passive=True)
        dead = await channel.declare_queue(_TOPOLOGY.dead_letter_queue, passive=True)
    return waiting.declaration_result.message_count or 0, dead.declaration_result.message_count or 0


def _breaches(world: World, ecg_id: str, row: asyncpg.Record) -> Iterator[str]:
    key = (ecg_id, row["generation"])
    events = [world.listener.events[event_id] for event_id in world.listener.by_key.get(key, ())]
    status = "failed" if ecg_id in world.must_fail else "completed"
    if row["status"] != status:
        yield f"I1 {key} is {row['status']} ({row['error']}) and should be {status}"
    if row["generation"] != world.generations.get(ecg_id, 1):
        yield f"I1 {ecg_id} is in generation {row['generation']}"
    if len(events) != 1:
        yield f"I2 {key} has {len(events)} distinct events"
    if not row["has_signal"] or (row["document"] is None) != (row["status"] != "completed"):
        yield f"I4 {key} is half there"
    if row["document"] is not None:
        document = orjson.loads(row["document"])
        if ecg_id in world.known and _found(document) != world.known[ecg_id].zero_crossings:
            yield f"I3 {key} found {_found(document)}"
        for event in events:
            data = event["data"]
            if data["status"] != "completed" or {name: data.get(name) for name in document} != document:
                yield f"I2 the event of {key} differs from the row"


def _found(document: dict[str, Any]) -> dict[str, int]:
    return {name: found["zero_crossings"] for lead in document["leads"] for name, found in lead.items()}
