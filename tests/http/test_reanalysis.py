"""The results of an ECG that is analysed again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from shared.operations.replay import replay
from shared.ports.operators.operations import AuditNote, Selection
from shared.runtime.settings import GatewayOnlySettings
from shared.storage.postgres.operators.operations import PostgresOperations
from tests.http.conftest import open_client, open_test_gateway, open_test_processor
from tests.http.ecg_requests import get_json, submit
from tests.support.builders import an_ecg_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from shared.broker.in_process import InProcessBroker
    from shared.storage.pool.database import Database


class TestReanalysis:
    @pytest.fixture
    async def ada(self, database: Database, broker: InProcessBroker) -> AsyncIterator[aiohttp.ClientSession]:
        """Without the result cache, as at another gateway."""
        settings = GatewayOnlySettings(host="127.0.0.1", port=0, result_cache_bytes=0)
        async with (
            open_test_gateway(database, broker.publisher(), settings=settings) as gateway,
            open_client(gateway, "ada") as ada,
        ):
            yield ada

    async def test_the_last_result_is_returned_until_the_next_is_finished_which_wait_returns(
        self, ada: aiohttp.ClientSession, database: Database, broker: InProcessBroker
    ) -> None:
        await submit(ada, an_ecg_body())
        async with open_test_processor(database, broker):
            first = await get_json(ada, "/ecg/10?wait=10")
        await replay(Selection(id="10"), AuditNote("ada", "why"), operations=PostgresOperations(database))

        meanwhile = await get_json(ada, "/ecg/10")
        in_vain = await get_json(ada, "/ecg/10?wait=0.1")
        waiting = asyncio.create_task(get_json(ada, "/ecg/10?wait=20"))
        async with open_test_processor(database, broker):
            second = await waiting

        assert meanwhile == first | {"reanalysis": "queued"}
        assert in_vain == meanwhile
        assert second == first | {"completed_at": second["completed_at"], "generation": 2}
        assert second["completed_at"] > first["completed_at"]

    async def test_an_ecg_being_re_analysed_can_be_erased(
        self, ada: aiohttp.ClientSession, database: Database, broker: InProcessBroker
    ) -> None:
        await submit(ada, an_ecg_body())
        async with open_test_processor(database, broker):
            await get_json(ada, "/ecg/10?wait=10")
        await replay(Selection(id="10"), AuditNote("ada", "why"), operations=PostgresOperations(database))

        async with ada.delete("/ecg/10") as erased, ada.get("/ecg/10") as gone:
            assert (erased.status, gone.status) == (204, 404)
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM ecg_insights") == 0
