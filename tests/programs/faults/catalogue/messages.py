"""Faults of messages: duplicates, out of order, poison, and a backlog."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import aio_pika

from processor.fault_injection import KILLS, RAISES
from shared.broker.topology import Topology
from shared.events import EcgKey, EventType, deleted_event, submitted_event
from shared.ports.ecgs import Submission
from shared.storage.pool.database import open_database
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.event_source import PostgresEventSource
from shared.storage.postgres.owned_ecgs import PostgresOwnedEcgs
from tests.programs.faults.fault import fault
from tests.support.builders import SOURCE, a_lead, an_ecg

if TYPE_CHECKING:
    from tests.programs.faults.installation.installation import Installation

_TOPOLOGY: Final = Topology()
_BACKLOG: Final = 20_000
_ERASED: Final = 10
_POLL_S: Final = 0.1

_SOME_FINISHED: Final = "SELECT id FROM ecg WHERE status = 'completed' ORDER BY row DESC LIMIT 50"
_FIRST_FINISHED: Final = "SELECT id FROM ecg WHERE status = 'completed' ORDER BY row LIMIT 1"
_CLONE: Final = """
WITH source AS (
    SELECT row, id, content_hash, num_samples FROM ecg WHERE status = 'completed' ORDER BY row LIMIT 1
), new AS (
    INSERT INTO ecg (owner, id, content_hash, num_samples, due_at)
    SELECT 'ada', 'backlog-' || n, content_hash, num_samples, now() FROM source, generate_series(1, $1) AS n
    RETURNING row
)
INSERT INTO ecg_signal (row, date, sampling_rate_hz, unit, leads, encoding, samples)
SELECT new.row, date, sampling_rate_hz, unit, leads, encoding, samples
FROM new, source JOIN ecg_signal USING (row)
"""


@fault("commands three times, shuffled", random=False)
async def commands_thrice(installation: Installation) -> None:
    ids = [row["id"] for row in await installation.postgres.query(_SOME_FINISHED)]
    installation.erased |= set(ids[:_ERASED])
    async with open_database(installation.postgres.url) as database:
        for ecg_id in ids[:_ERASED]:
            source = await PostgresEventSource(database).uri()
            event_of = partial(deleted_event, source=source, now=datetime.now(UTC), traceparent=None)
            await PostgresOwnedEcgs(database).erase("ada", ecg_id, event_of=event_of)
    keys = [EcgKey("ada", ecg_id) for ecg_id in [*ids, "unknown-1", "unknown-2"]] * 3
    random.shuffle(keys)
    await _publish(
        installation, [submitted_event([key], source=SOURCE, now=datetime.now(UTC)).body for key in keys]
    )


@fault("poison: unreadable messages", random=False)
async def unreadable(installation: Installation) -> None:
    good = submitted_event([EcgKey("ada", "unknown")], source=SOURCE, now=datetime.now(UTC)).body
    letters = [b"not JSON", b"[]", good.replace(b'"1.0"', b'"2.0"'), good.replace(b'"ecgs"', b'"egcs"')]
    installation.injected_letters += len(letters)
    await _publish(installation, [*letters, good])


@fault("poison: an ECG whose analysis raises", random=False)
async def raising_ecg(installation: Installation) -> None:
    await _poison(installation, RAISES)


@fault("poison: an ECG that kills the processor", random=False)
async def killing_ecg(installation: Installation) -> None:
    await _poison(installation, KILLS)


async def _poison(installation: Installation, signal_: tuple[int, ...]) -> None:
    for processor in installation.processors:
        processor.environment["ISOLINE_FAILPOINT"] = "poison"
    await asyncio.gather(*(processor.restart() for processor in installation.processors))
    ecg_id = f"poison-{uuid4()}"
    ecg = an_ecg(ecg_id, leads=[a_lead("I", signal_)])
    async with open_database(installation.postgres.url) as database:
        await PostgresEcgStore(database).add([Submission("ada", ecg)])
    installation.accepted.add(ecg_id)
    installation.must_fail.add(ecg_id)
    await _publish(
        installation, [submitted_event([EcgKey("ada", ecg_id)], source=SOURCE, now=datetime.now(UTC)).body]
    )
    while (await installation.postgres.query("SELECT status FROM ecg WHERE id = $1", ecg_id))[0][
        0
    ] == "queued":
        await asyncio.sleep(_POLL_S)
    for processor in installation.processors:
        del processor.environment["ISOLINE_FAILPOINT"]
    await asyncio.gather(*(processor.restart() for processor in installation.processors))


@fault("20,000 queued after an outage", random=False)
async def backlog(installation: Installation) -> None:
    await installation.postgres.query(_CLONE, _BACKLOG)
    [row] = await installation.postgres.query(_FIRST_FINISHED)
    ids = {f"backlog-{number}" for number in range(1, _BACKLOG + 1)}
    installation.known |= dict.fromkeys(ids, installation.known[row["id"]])
    installation.accepted |= ids


async def _publish(installation: Installation, bodies: list[bytes]) -> None:
    async with installation.rabbitmq.channel() as channel:
        exchange = await channel.get_exchange(_TOPOLOGY.exchange)
        for body in bodies:
            await exchange.publish(aio_pika.Message(body), EventType.SUBMITTED)
