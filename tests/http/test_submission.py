from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.builders import an_ecg_body

if TYPE_CHECKING:
    import aiohttp


async def test_a_submitted_ecg_is_queued_at_its_own_address(ada: aiohttp.ClientSession) -> None:
    async with ada.post("/ecg/process", json=an_ecg_body(id="10")) as answer:
        assert answer.status == 202
        assert answer.headers["Location"] == "/ecg/10"
        assert await answer.json() == {"id": "10", "status": "queued"}


@pytest.mark.usefixtures("processor")
async def test_waiting_answers_with_the_zero_crossings(ada: aiohttp.ClientSession) -> None:
    await ada.post("/ecg/process", json=an_ecg_body(id="10"))

    async with ada.get("/ecg/10", params={"wait": "10"}) as answer:
        found = await answer.json()

    assert answer.status == 200
    assert found["status"] == "completed"
    assert found["leads"] == [{"I": {"zero_crossings": 2}}]
