"""An id that is submitted again: the same content, or a conflict."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.http.conftest import QUEUE, problem_of
from tests.http.ecg_requests import another_body, get_json, submit
from tests.support.builders import an_ecg_body

if TYPE_CHECKING:
    import aiohttp

    from shared.broker.in_process import InProcessBroker


class TestSubmittingAgain:
    async def test_the_same_content_is_stored_and_announced_once(
        self, ada: aiohttp.ClientSession, broker: InProcessBroker
    ) -> None:
        first = await submit(ada, an_ecg_body())

        again = await submit(ada, an_ecg_body())

        assert first == again == (202, {"id": "10", "status": "queued"})
        assert len(broker.waiting(QUEUE)) == 1

    @pytest.mark.usefixtures("processor")
    async def test_the_same_content_is_answered_with_its_present_status(
        self, ada: aiohttp.ClientSession
    ) -> None:
        await submit(ada, an_ecg_body())
        await get_json(ada, "/ecg/10?wait=10")

        assert await submit(ada, an_ecg_body()) == (202, {"id": "10", "status": "completed"})

    async def test_other_content_under_the_same_id_is_a_conflict_and_changes_nothing(
        self, ada: aiohttp.ClientSession
    ) -> None:
        await submit(ada, an_ecg_body())

        async with ada.post("/ecg/process", json=another_body()) as response:
            problem = await problem_of(response, 409)

        assert problem["detail"] == "You have another ECG of this id already, with other content."
        assert await submit(ada, an_ecg_body()) == (202, {"id": "10", "status": "queued"})

    @pytest.mark.parametrize(
        "fields",
        [
            {"date": "2023-07-31"},
            {"sampling_rate_hz": 500},
            {"unit": "uV"},
            {"leads": [{"name": "II", "signal": [1, -1, 1]}]},
            {"leads": [{"name": "I", "signal": [1, -1, 1], "baseline": 1}]},
            {"leads": [{"name": "I", "signal": [1, -1, 1], "adc_gain": 2}]},
            {"leads": [{"name": "I", "signal": [1, -1, 1], "missing_value": 1}]},
            {"leads": [{"name": "I", "signal": [1, -1, 1], "sampling_rate_hz": 62.5}]},
            {"leads": [{"name": "I", "signal": [1, -1]}, {"name": "II", "signal": [1]}]},
        ],
    )
    async def test_the_content_includes_every_field(
        self, ada: aiohttp.ClientSession, fields: dict[str, Any]
    ) -> None:
        await submit(ada, an_ecg_body())

        status, _ = await submit(ada, an_ecg_body(**fields))

        assert status == 409

    async def test_explicit_defaults_are_the_same_content(self, ada: aiohttp.ClientSession) -> None:
        lead = {"name": "I", "signal": [1, -1, 1], "num_samples": 3, "baseline": 0, "adc_gain": 1}
        await submit(ada, an_ecg_body(id="10"))

        status, _ = await submit(ada, an_ecg_body(id=10, leads=[lead]))

        assert status == 202

    async def test_concurrent_submissions_store_one(
        self, ada: aiohttp.ClientSession, broker: InProcessBroker
    ) -> None:
        responses = await asyncio.gather(*(submit(ada, an_ecg_body()) for _ in range(8)))

        assert responses == [(202, {"id": "10", "status": "queued"})] * 8
        assert len(broker.waiting(QUEUE)) == 1
