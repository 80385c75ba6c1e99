"""`isoline trace` names the processes that an ECG has killed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from typer.testing import CliRunner

from isoline.cli.app import app
from processor.fault_injection import KILLS
from shared.ports.claim_ids import origin_of_claim
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.outbox import PostgresOutbox
from tests.support.builders import a_lead, a_submission, an_ecg

if TYPE_CHECKING:
    from uuid import UUID

    import pytest

    from shared.storage.pool.database import Database
    from tests.e2e.conftest import Installation

_WITHIN_S: Final = 180.0
_CLAIMS: Final = "SELECT claimed_by FROM ecg UNION SELECT claimed_by FROM attempt"


async def test_an_ecg_that_killed_two_processors_names_both(
    installation: Installation, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    ecg = an_ecg("10", leads=[a_lead(signal=KILLS)])
    await PostgresEcgStore(database).add([a_submission(ecg=ecg)])
    await PostgresOutbox(database).make_all_due()  # the relay of the first announces it
    async with asyncio.timeout(_WITHIN_S):
        for _ in range(2):
            killed, _ = await installation.begin_processor(ISOLINE_FAILPOINT="poison")
            assert await killed.wait() == -9

    monkeypatch.setenv("ISOLINE_DATABASE_URL", installation.environment["ISOLINE_DATABASE_URL"])
    told = (await asyncio.to_thread(CliRunner().invoke, app, ["trace", "ada", "10"])).stdout

    first, second = [line for line in told.splitlines() if "  attempt, " in line]
    assert "  attempt, 1 by processor/1 on " in first
    assert "no result when the next attempt began; its process was last heard of at " in first
    assert "  attempt, 2 by processor/1 on " in second
    assert second.endswith(": no result yet")
    assert "queued, after 2 attempts" in told
    assert len(await _processes_that_claimed(database)) == 2


async def _processes_that_claimed(database: Database) -> set[UUID]:
    async with database.connection() as connection:
        rows = await connection.fetch(_CLAIMS)
    origins = [origin_of_claim(row["claimed_by"]) for row in rows]
    return {origin.process_id for origin in origins if origin is not None}
