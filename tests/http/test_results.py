"""What `GET /ecg/{id}` says of a finished ECG."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from tests.http.ecg_requests import get_json, submit, without_times_and_header
from tests.support.builders import an_ecg_body

if TYPE_CHECKING:
    import aiohttp

    from shared.storage.pool.database import Database


class TestResults:
    @pytest.mark.usefixtures("processor")
    async def test_a_result_carries_the_version_of_each_insight(self, ada: aiohttp.ClientSession) -> None:
        await submit(ada, an_ecg_body())

        assert without_times_and_header(await get_json(ada, "/ecg/10?wait=10")) == {
            "id": "10",
            "status": "completed",
            "leads": [{"I": {"zero_crossings": 2}}],
            "insights": {"zero_crossings": 1},
        }

    @pytest.mark.usefixtures("processor")
    async def test_a_warning_stands_beside_its_count(self, ada: aiohttp.ClientSession) -> None:
        leads = [
            {"name": "raw", "signal": [1024, 1030, 1020]},
            {"name": "based", "signal": [1024, 1030, 1020], "baseline": 1024},
        ]
        await submit(ada, an_ecg_body(leads=leads))

        assert (await get_json(ada, "/ecg/10?wait=10"))["leads"] == [
            {"raw": {"zero_crossings": 0, "warnings": ["signal_never_near_zero"]}},
            {"based": {"zero_crossings": 1}},
        ]

    @pytest.mark.usefixtures("processor")
    async def test_a_lead_of_many_chunks_is_counted(self, ada: aiohttp.ClientSession) -> None:
        await submit(ada, an_ecg_body(leads=[{"name": "I", "signal": [1, -1] * 100_000}]))

        assert (await get_json(ada, "/ecg/10?wait=10"))["leads"] == [{"I": {"zero_crossings": 199_999}}]

    async def test_a_failed_ecg_says_why(self, ada: aiohttp.ClientSession, database: Database) -> None:
        await submit(ada, an_ecg_body())
        async with database.connection() as connection:
            await connection.execute(
                "UPDATE ecg SET status = 'failed', error = 'why', due_at = NULL, finished_at = now()"
            )

        failed = await get_json(ada, "/ecg/10")

        assert without_times_and_header(failed) == {"id": "10", "status": "failed", "error": "why"}

    @pytest.mark.usefixtures("processor")
    async def test_a_result_has_the_header_and_times_of_its_submission(
        self, ada: aiohttp.ClientSession
    ) -> None:
        await submit(ada, an_ecg_body(sampling_rate_hz=500, unit="mV"))

        state = await get_json(ada, "/ecg/10?wait=10")

        assert (state["date"], state["sampling_rate_hz"], state["unit"]) == ("2023-07-30", 500, "mV")
        assert state["generation"] == 1
        assert datetime.fromisoformat(state["submitted_at"]) < datetime.fromisoformat(state["completed_at"])
