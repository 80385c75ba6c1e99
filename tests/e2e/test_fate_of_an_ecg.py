"""`isoline trace` names the processes that an ECG has killed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import aiohttp
from typer.testing import CliRunner

from isoline.cli.app import app
from processor.fault_injection import KILLS
from shared.ports.claim_ids import origin_of_claim
from tests.e2e.conftest import PASSWORD

if TYPE_CHECKING:
    from uuid import UUID

    import pytest

    from shared.storage.pool.database import Database
    from tests.e2e.conftest import Installation

_WITHIN_S: Final = 60.0
_CLAIMS: Final = "SELECT claimed_by FROM ecg UNION SELECT claimed_by FROM attempt"


async def test_an_ecg_that_killed_two_processors_names_both_and_the_one_that_gave_it_up(
    installation: Installation, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await installation.start_gateway()
    async with asyncio.timeout(_WITHIN_S), aiohttp.ClientSession(installation.address) as session:
        async with session.post("/token", json={"user": "ada", "password": PASSWORD}) as answer:
            session.headers["Authorization"] = f"Bearer {(await answer.json())['access_token']}"
        body = {"id": "10", "date": "2026-01-05", "leads": [{"name": "I", "signal": list(KILLS)}]}
        async with session.post("/ecg/process", json=body) as answer:
            assert answer.status == 202

        settings = {"ISOLINE_FAILPOINT": "poison", "ISOLINE_MAX_ATTEMPTS": "2"}
        for _ in range(2):
            killed, _ = await installation.begin_processor(**settings)
            assert await killed.wait() == -9
        await installation.begin_processor(**settings)
        async with session.get("/ecg/10", params={"wait": "30"}) as answer:
            assert (await answer.json())["status"] == "failed"

    monkeypatch.setenv("ISOLINE_DATABASE_URL", installation.environment["ISOLINE_DATABASE_URL"])
    told = (await asyncio.to_thread(CliRunner().invoke, app, ["trace", "ada", "10"])).stdout

    attempts = [line for line in told.splitlines() if "  attempt, " in line]
    for number, line in enumerate(attempts, 1):
        assert f"  attempt, {number} by processor/1 on " in line
        assert ("no result when the next attempt began; its process was last seen" in line) is (number < 3)
    assert len(attempts) == 3
    assert "failed, after 3 attempts: Given up after 2 attempts." in told
    assert len(await _processes_that_claimed(database)) == 3


async def _processes_that_claimed(database: Database) -> set[UUID]:
    async with database.connection() as connection:
        rows = await connection.fetch(_CLAIMS)
    origins = [origin_of_claim(row["claimed_by"]) for row in rows]
    return {origin.process_id for origin in origins if origin is not None}
