"""A processor that PostgreSQL refuses beside one that it accepts: ECGs are not delayed."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import aiohttp

from shared.broker.rabbitmq.publisher import open_rabbitmq_publisher
from shared.events import submitted_event
from shared.storage.postgres.ecgs import PostgresEcgStore
from tests.support.builders import SOURCE, a_submission
from tests.support.servers.services import stop

if TYPE_CHECKING:
    from shared.broker.topology import Topology
    from shared.storage.pool.database import Database
    from tests.e2e.conftest import Installation

_ECGS: Final = 40
_WITHIN_S: Final = 60.0
_POLL_S: Final = 0.05


async def test_a_processor_that_may_not_log_in_keeps_no_message_from_the_others(
    installation: Installation,
    database: Database,
    database_url: str,
    topology: Topology,
    amqp_url: str,
) -> None:
    installation.environment["ISOLINE_RELAY_INTERVAL_S"] = "60"
    await installation.start_processor()
    refused_url = _without_rights(database_url)
    doomed, address = await installation.begin_processor(ISOLINE_DATABASE_URL=refused_url)
    await _until_not_ready(address)

    await _submit(database, topology, amqp_url)

    async with asyncio.timeout(_WITHIN_S):
        while await _count_queued(database):
            await asyncio.sleep(_POLL_S)
    status = await stop(doomed)

    messages = [record["message"] for record in installation.records("processor")]
    assert "queued ECGs were announced again" not in messages  # the relay had to rescue none
    assert "stopped with unfinished work, which will be delivered again" not in messages
    assert status == 0


def _without_rights(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"nobody:wrong@{parts.netloc.rpartition('@')[2]}"))


async def _until_not_ready(address: str) -> None:
    async with asyncio.timeout(_WITHIN_S), aiohttp.ClientSession(address) as session:
        while True:
            try:
                async with session.get("/health/ready") as answer:
                    document = await answer.json()
                if document["parts"].get("broker", {}).get("state") == "ok":
                    assert answer.status == 503
                    return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(_POLL_S)


async def _submit(database: Database, topology: Topology, amqp_url: str) -> None:
    """Store ECGs and announce each by a message of its own."""
    receipts = await PostgresEcgStore(database).add([a_submission(str(number)) for number in range(_ECGS)])
    async with open_rabbitmq_publisher(amqp_url, topology=topology) as publisher:
        for receipt in receipts:
            assert await publisher.publish(
                [submitted_event([receipt.key], source=SOURCE, now=datetime.now(UTC))]
            ) == [None]


async def _count_queued(database: Database) -> int:
    return await PostgresEcgStore(database).count_queued(_ECGS)
