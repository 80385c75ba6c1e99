"""`GET /ecg/{id}?wait=`: a response as soon as the ECG is finished."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from tests.http.conftest import open_client, open_test_gateway, open_test_processor, problem_of
from tests.http.ecg_requests import get_json, submit, without_times_and_header
from tests.support.builders import an_ecg_body

if TYPE_CHECKING:
    import aiohttp

    from shared.broker.in_process import InProcessBroker
    from shared.storage.pool.database import Database


class TestWaiting:
    @pytest.mark.parametrize("wait", ["", "x", "-1", "31", "30.001", "1e9", "10s", "NaN", "٣"])
    async def test_an_invalid_wait_is_a_400(self, ada: aiohttp.ClientSession, wait: str) -> None:
        async with ada.get("/ecg/10", params={"wait": wait}) as response:
            problem = await problem_of(response, 400)

        assert problem["detail"].startswith("The query does not fit: wait: expected a number")

    async def test_a_queued_ecg_is_returned_after_the_wait(self, ada: aiohttp.ClientSession) -> None:
        await submit(ada, an_ecg_body())
        started = asyncio.get_running_loop().time()

        state = await get_json(ada, "/ecg/10?wait=0.3")

        assert without_times_and_header(state) == {"id": "10", "status": "queued"}
        assert asyncio.get_running_loop().time() - started >= 0.3

    async def test_without_wait_the_response_is_immediate(self, ada: aiohttp.ClientSession) -> None:
        await submit(ada, an_ecg_body())

        async with asyncio.timeout(5):
            assert await get_json(ada, "/ecg/10?wait=0") == await get_json(ada, "/ecg/10")

    async def test_all_waiting_requests_are_answered_when_the_ecg_is_finished(
        self, ada: aiohttp.ClientSession, database: Database, broker: InProcessBroker
    ) -> None:
        await submit(ada, an_ecg_body())
        waiting = [asyncio.create_task(get_json(ada, "/ecg/10?wait=20")) for _ in range(3)]
        await get_json(ada, "/ecg/10?wait=0.1")

        async with open_test_processor(database, broker):
            states = await asyncio.gather(*waiting)

        assert {state["status"] for state in states} == {"completed"}

    async def test_draining_ends_all_waits(self, database: Database, broker: InProcessBroker) -> None:
        async with AsyncExitStack() as opened:
            gateway = await opened.enter_async_context(open_test_gateway(database, broker.publisher()))
            async with open_client(gateway, "ada") as ada:
                await submit(ada, an_ecg_body())
                waiting = asyncio.create_task(get_json(ada, "/ecg/10?wait=30"))
                await get_json(ada, "/ecg/10?wait=0.1")

                async with asyncio.timeout(5):
                    await opened.aclose()

                assert without_times_and_header(await waiting) == {"id": "10", "status": "queued"}
