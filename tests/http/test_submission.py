from __future__ import annotations

from typing import Final

import aiohttp
import pytest

from tests.support.builders import an_ecg_body

_OF_ITS_OWN: Final = ("Date", "X-Request-ID", "RateLimit")


async def test_a_submitted_ecg_is_queued_at_its_own_url(ada: aiohttp.ClientSession) -> None:
    async with ada.post("/ecg/process", json=an_ecg_body(id="10")) as response:
        assert response.status == 202
        assert response.headers["Location"] == "/ecg/10"
        assert await response.json() == {"id": "10", "status": "queued"}


async def test_a_receipt_is_the_same_over_http_1_0_and_1_1(gateway: str, ada: aiohttp.ClientSession) -> None:
    token = {"Authorization": ada.headers["Authorization"]}
    async with aiohttp.ClientSession(gateway, headers=token, version=aiohttp.HttpVersion10) as old:
        receipts = [await client.post("/ecg/process", json=an_ecg_body(id="10")) for client in (ada, old)]
        (new_body, old_body) = [await receipt.read() for receipt in receipts]

    new_head, old_head = [dict(receipt.headers) for receipt in receipts]
    assert new_body == old_body
    assert new_head.keys() == old_head.keys() - {"Connection"}
    assert {name for name in new_head if new_head[name] != old_head[name]} <= {*_OF_ITS_OWN}
    assert (receipts[0].status, receipts[0].reason) == (202, "Accepted")


@pytest.mark.usefixtures("processor")
async def test_waiting_returns_the_zero_crossings(ada: aiohttp.ClientSession) -> None:
    await ada.post("/ecg/process", json=an_ecg_body(id="10"))

    async with ada.get("/ecg/10", params={"wait": "10"}) as response:
        found = await response.json()

    assert response.status == 200
    assert found["status"] == "completed"
    assert found["leads"] == [{"I": {"zero_crossings": 2}}]


@pytest.mark.usefixtures("processor")
@pytest.mark.parametrize("half", [1000, 100_000], ids=["of a few kilobytes", "that is read in a thread"])
async def test_a_large_ecg_is_measured_like_a_small_one(ada: aiohttp.ClientSession, half: int) -> None:
    await ada.post("/ecg/process", json=an_ecg_body(leads=[{"name": "I", "signal": [1, -1] * half}]))

    async with ada.get("/ecg/10", params={"wait": "10"}) as response:
        found = await response.json()

    assert found["leads"] == [{"I": {"zero_crossings": 2 * half - 1}}]


@pytest.mark.parametrize("half", [1000, 100_000], ids=["of a few kilobytes", "that is read in a thread"])
async def test_a_large_ecg_is_refused_like_a_small_one(ada: aiohttp.ClientSession, half: int) -> None:
    body = an_ecg_body(leads=[{"name": "I", "signal": [1, -1] * half + [0.5]}])

    async with ada.post("/ecg/process", json=body) as response:
        problem = await response.json()

    assert response.status == 422
    assert problem["errors"] == [
        {
            "pointer": f"/leads/0/signal/{2 * half}",
            "detail": (
                "expected an integer from -2147483648 to 2147483647, "
                "found a number with a fraction or past 64 bits"
            ),
        }
    ]
