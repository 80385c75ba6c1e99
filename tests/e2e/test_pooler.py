"""Both services behind PgBouncer in transaction mode, beside a migration and a replay."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from typing import TYPE_CHECKING, Final

import aiohttp

from shared.storage.schema.compatibility import NEWEST_SCHEMA, OLDEST_SCHEMA
from shared.storage.schema.migrations import migrate
from tests.e2e.conftest import PASSWORD, Installation, Subscriber
from tests.e2e.load import KnownEcg, known_findings, real_ecgs, submit_all
from tests.support.databases import open_connection
from tests.support.servers.folders import server_folder
from tests.support.servers.pgbouncer import open_pgbouncer

if TYPE_CHECKING:
    from shared.storage.pool.database import Database

_ECGS: Final = 300
_WITHIN_S: Final = 60.0
_END_OURS: Final = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'isoline'
"""
_WORD: Final = "connections go through a pooler"


async def test_every_ecg_is_completed_and_published_and_replayed_behind_a_pooler(
    installation: Installation, subscriber: Subscriber, database_url: str, database: Database
) -> None:
    ecgs = real_ecgs(_ECGS)
    with server_folder() as folder:
        async with open_pgbouncer(folder, database_url) as pgbouncer:
            installation.environment["ISOLINE_DATABASE_URL"] = pgbouncer.url
            await asyncio.gather(installation.start_gateway(), installation.start_processor())
            async with asyncio.timeout(_WITHIN_S), asyncio.TaskGroup() as tasks:
                tasks.create_task(_submit(installation.address, ecgs))
                tasks.create_task(_migrate_down_and_up(database_url))
            async with asyncio.timeout(_WITHIN_S):
                await subscriber.receive(_ECGS)
                first, subscriber.events = subscriber.events, []
                replayed = await _isoline(
                    installation, "replay", "--owner", "ada", "--why", "to see it work", "--yes"
                )
                await subscriber.receive(_ECGS)
            looked = [
                await _isoline(installation, *command)
                for command in (
                    ("trace", "ada", ecgs[0].body["id"]),
                    ("ops", "processes"),
                    ("ops", "backlog"),
                    ("user", "list"),
                )
            ]
            assert await _isoline(installation, "migrate") == 2  # it is told to go to PostgreSQL itself

    assert [replayed, *looked] == [0] * 5
    expected = {ecg.body["id"]: ecg.findings for ecg in ecgs}
    for generation, events in ((1, first), (2, subscriber.events)):
        assert Counter(event["data"]["id"] for event in events) == Counter(expected.keys())
        assert {event["data"]["generation"] for event in events} == {generation}
        assert {event["data"]["id"]: known_findings(event["data"]) for event in events} == expected
    for service in ("gateway", "processor"):
        messages = [record["message"] for record in installation.records(service)]
        assert messages.count(_WORD) == 1
        assert not [record for record in installation.records(service) if record["level"] == "error"]
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM ecg WHERE status <> 'completed'") == 0


async def _submit(address: str, ecgs: list[KnownEcg]) -> None:
    async with aiohttp.ClientSession(address) as session:
        async with session.post("/token", json={"user": "ada", "password": PASSWORD}) as answer:
            session.headers["Authorization"] = f"Bearer {(await answer.json())['access_token']}"
        await submit_all(session, ecgs, concurrency=16, accepted=lambda _: None)


async def _migrate_down_and_up(url: str) -> None:
    """Migrate while both services run; the test's own connection is none of a service."""
    async with open_connection(url) as connection:
        await connection.execute(_END_OURS)
    for schema in (OLDEST_SCHEMA, NEWEST_SCHEMA):
        await migrate(url, to=schema)


async def _isoline(installation: Installation, *arguments: str) -> int:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "isoline", *arguments), env=os.environ | installation.environment
    )
    return await process.wait()
