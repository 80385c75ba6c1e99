"""Check I1 to I6 of the design in the tables, at the broker, in /proc and at the subscriber."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import aio_pika.exceptions
import asyncpg
import orjson

from shared.broker.topology import Topology
from shared.events import LEGACY_SOURCE
from tests.e2e.load import known_findings
from tests.programs.faults.installation.footprint import grown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.programs.faults.followers.follower import Follower
    from tests.programs.faults.installation.installation import Installation

_TOPOLOGY: Final = Topology()
_POLL_S: Final = 0.2
_BACK_WITHIN_S: Final = 60.0

_OPEN: Final = """
SELECT (SELECT count(*) FROM ecg WHERE status = 'queued') AS queued,
    (SELECT count(*) FROM outbox) AS unpublished
"""
_ROWS: Final = """
SELECT id, generation, status, error, document, ecg_signal.row IS NOT NULL AS has_signal
FROM ecg LEFT JOIN ecg_signal USING (row) LEFT JOIN ecg_insights USING (row, generation)
"""

# No foreign key keeps them from outliving their ECG.
_LEFT_OVER: Final = """
SELECT count(*) FROM (SELECT row FROM ecg_signal UNION ALL SELECT row FROM ecg_insights) AS kept
WHERE NOT EXISTS (SELECT FROM ecg WHERE ecg.row = kept.row AND status <> 'erased')
"""


class Breach(NamedTuple):
    """A broken promise; ``number`` of them, if they can't be distinguished."""

    kind: Literal["lost", "wrong", "missing event", "stuck", "other"]
    what: str
    number: int = 1

    def __str__(self) -> str:
        return f"{self.kind}: {self.what}"


async def until_quiet(installation: Installation, *, within_s: float) -> list[Breach]:
    """Wait until no work is left; the work that is left after the limit."""
    until_s = time.monotonic() + within_s
    left: list[Breach] = []
    while time.monotonic() < until_s:
        try:
            left = await _left(installation)
        except (OSError, asyncpg.PostgresError, aio_pika.exceptions.AMQPError) as error:
            left = [Breach("stuck", repr(error))]
        if not left:
            return []
        await asyncio.sleep(_POLL_S)
    return left


async def until_followed(installation: Installation, *, within_s: float) -> None:
    """Wait until every other follower has heard of all that the listener has heard of, or until the limit."""
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s and any(
        [await _is_behind(installation, it) for it in installation.others]
    ):
        await asyncio.sleep(_POLL_S)


async def _is_behind(installation: Installation, follower: Follower) -> bool:
    await follower.refresh()
    expected = installation.accepted - installation.erased - follower.exempt
    keys = ((ecg_id, installation.generations.get(ecg_id, 1)) for ecg_id in expected)
    erased = installation.erased - follower.exempt
    return not erased <= follower.erased or any(follower.misses(key) for key in keys)


async def until_back(installation: Installation) -> list[Breach]:
    """Wait until no service exceeds its resources (I6); those that still do after the limit."""
    until_s = time.monotonic() + _BACK_WITHIN_S
    while (
        breaches := list(grown(installation.plateau, installation.footprints()))
    ) and time.monotonic() < until_s:
        await asyncio.sleep(_POLL_S)
    return [Breach("other", f"I6 {breach}") for breach in breaches]


async def broken_invariants(installation: Installation) -> list[Breach]:
    """Each breach of I1 to I4."""
    found = {row["id"]: row for row in await installation.postgres.query(_ROWS)}
    rows = {ecg_id: row for ecg_id, row in found.items() if row["status"] != "erased"}
    sources = {row["source"] for row in await installation.postgres.query("SELECT source FROM installation")}
    sources |= {LEGACY_SOURCE} if installation.has_run_release_before else set()
    [[left_over]] = await installation.postgres.query(_LEFT_OVER)
    return [
        *(
            Breach("lost", f"I1 {it} was accepted and is gone")
            for it in installation.accepted - rows.keys() - installation.erased
        ),
        *(
            Breach("wrong", f"I1 {ecg_id} was erased and is back")
            for ecg_id in installation.erased & rows.keys()
        ),
        *(breach for ecg_id, row in rows.items() for breach in _breaches(installation, ecg_id, row)),
        *(breach for it in installation.followers for breach in _breaches_of_its_events(it, sources)),
        *([Breach("wrong", "I4 signals or insights belong to no ECG", left_over)] if left_over else []),
    ]


async def _left(installation: Installation) -> list[Breach]:
    """Breaches of I5: leftovers in queues, outbox and dead letters."""
    [row] = await installation.postgres.query(_OPEN)
    waiting, letters = await _depths(installation)
    received = installation.listener.by_key
    expected = installation.accepted - installation.erased
    unreceived = sum((ecg_id, installation.generations.get(ecg_id, 1)) not in received for ecg_id in expected)
    left = {
        "ECGs are queued": row["queued"],
        "events are in the outbox": row["unpublished"],
        "messages wait": waiting,
        "results without an event": unreceived,
        "erasures without an event": len(installation.erased - installation.listener.erased),
        f"dead letters are not the {installation.injected_letters} that were injected": letters
        - installation.injected_letters,
    }
    return [Breach("stuck", f"{count} {what}", abs(count)) for what, count in left.items() if count]


async def _depths(installation: Installation) -> tuple[int, int]:
    """Numbers of queued messages and of dead letters."""
    async with asyncio.timeout(10), installation.rabbitmq.channel() as channel:
        waiting = await channel.declare_queue(_TOPOLOGY.submitted_queue, passive=True)
        dead = await channel.declare_queue(_TOPOLOGY.dead_letter_queue, passive=True)
    return waiting.declaration_result.message_count or 0, dead.declaration_result.message_count or 0


def _breaches(installation: Installation, ecg_id: str, row: asyncpg.Record) -> Iterator[Breach]:
    key = (ecg_id, row["generation"])
    status = "failed" if ecg_id in installation.must_fail else "completed"
    if row["status"] == "queued":
        yield Breach("stuck", f"I1 {key} is still queued")
    elif row["status"] != status:
        yield Breach("wrong", f"I1 {key} is {row['status']} ({row['error']}) and should be {status}")
    if row["generation"] != installation.generations.get(ecg_id, 1):
        yield Breach("wrong", f"I1 {ecg_id} is in generation {row['generation']}")
    for follower in installation.followers:
        if follower.misses(key):
            yield Breach("missing event", f"I2 {key} has none by {follower.name}")
        if (count := len(follower.by_key.get(key, ()))) > 1:
            yield Breach("wrong", f"I2 {key} has {count} distinct events by {follower.name}")
    if not row["has_signal"] or (row["document"] is None) != (row["status"] != "completed"):
        yield Breach("wrong", f"I4 {key} is half there")
    if row["document"] is not None:
        yield from _breaches_of_the_result(installation, key, orjson.loads(row["document"]))


def _breaches_of_the_result(
    installation: Installation, key: tuple[str, int], document: dict[str, Any]
) -> Iterator[Breach]:
    ecg_id, _ = key
    if (
        ecg_id in installation.known
        and (found := known_findings(document)) != installation.known[ecg_id].findings
    ):
        yield Breach("wrong", f"I3 {key} found {found}")
    # Each follower was found to have the same events as the others.
    events = {
        event_id: it.events[event_id] for it in installation.followers for event_id in it.by_key.get(key, ())
    }
    for event in events.values():
        data = event["data"]
        if data["status"] != "completed" or {name: data.get(name) for name in document} != document:
            yield Breach("wrong", f"I2 the event of {key} differs from the row")


def _breaches_of_its_events(follower: Follower, sources: set[str]) -> Iterator[Breach]:
    for source in follower.sources - sources:
        yield Breach("wrong", f"I2 events by {follower.name} come from {source}")
    for event_id in follower.changed:
        yield Breach("wrong", f"I2 event {event_id} has other content by {follower.name}")
    if follower.hears_once:
        for event_id, count in follower.deliveries.items():
            if count > 1:
                yield Breach("wrong", f"I2 event {event_id} was handled {count} times by {follower.name}")
