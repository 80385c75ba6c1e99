"""2,000 ECGs through one gateway and two processors, one of which is killed half way."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson

from shared.storage.postgres.event_source import PostgresEventSource
from tests.e2e.conftest import PASSWORD, Installation, Subscriber
from tests.e2e.load import KnownEcg, known_findings, real_ecgs, submit_all

if TYPE_CHECKING:
    from asyncio.subprocess import Process

    from shared.storage.pool.database import Database

_ECGS: Final = 2_000
_CONCURRENCY: Final = 32
_WITHIN_S: Final = 120.0
_POLL_S: Final = 0.05

_TERMINAL: Final = """
SELECT id, status, generation, document FROM ecg LEFT JOIN ecg_insights USING (row, generation)
"""


async def test_every_accepted_ecg_is_completed_and_published_once_when_a_processor_is_killed(
    installation: Installation, subscriber: Subscriber, database: Database
) -> None:
    ecgs = real_ecgs(_ECGS)
    await installation.start_gateway()
    doomed, _ = await asyncio.gather(installation.start_processor(), installation.start_processor())

    accepted = await _submit_and_kill(installation.address, ecgs, kill_half_way=doomed)
    async with asyncio.timeout(_WITHIN_S):
        await subscriber.receive(_ECGS)

        await _until_all_is_told(database)

    assert doomed.returncode == -9
    assert len(accepted) == _ECGS
    assert await _wait_until_completed(database) == {ecg.body["id"]: ecg.findings for ecg in ecgs}
    received = Counter(event["data"]["id"] for event in subscriber.events)
    assert received == Counter(accepted)
    source = await PostgresEventSource(database).uri()
    assert {event["source"] for event in subscriber.events} == {source}
    assert {_key(event): known_findings(event["data"]) for event in subscriber.events} == {
        ("ada", ecg.body["id"], 1): ecg.findings for ecg in ecgs
    }


async def _submit_and_kill(address: str, ecgs: list[KnownEcg], *, kill_half_way: Process) -> list[str]:
    accepted: list[str] = []

    def on_accepted(ecg_id: str) -> None:
        accepted.append(ecg_id)
        if len(accepted) == _ECGS // 2:
            kill_half_way.kill()

    async with aiohttp.ClientSession(address) as session:
        async with session.post("/token", json={"user": "ada", "password": PASSWORD}) as answer:
            session.headers["Authorization"] = f"Bearer {(await answer.json())['access_token']}"
        async with asyncio.timeout(_WITHIN_S):
            await submit_all(session, ecgs, concurrency=_CONCURRENCY, accepted=on_accepted)
    return accepted


async def _until_all_is_told(database: Database) -> None:
    while True:
        async with database.connection() as connection:
            if not await connection.fetchval("SELECT count(*) FROM outbox"):
                return
        await asyncio.sleep(_POLL_S)


async def _wait_until_completed(database: Database) -> dict[str, dict[str, dict[str, Any]]]:
    async with database.connection() as connection:
        rows = await connection.fetch(_TERMINAL)
    assert {(row["status"], row["generation"]) for row in rows} == {("completed", 1)}
    return {row["id"]: known_findings(orjson.loads(row["document"])) for row in rows}


def _key(event: dict[str, Any]) -> tuple[str, str, int]:
    data = event["data"]
    return data["owner"], data["id"], data["generation"]
