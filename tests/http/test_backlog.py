"""The responses to submissions at the backlog limit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from shared.runtime.settings import GatewayOnlySettings
from tests.http.conftest import open_client, open_test_gateway, problem_of
from tests.support.builders import a_binary_body, an_ecg_body

if TYPE_CHECKING:
    from shared.broker.in_process import InProcessBroker
    from shared.storage.pool.database import Database


@pytest.mark.usefixtures("gateway")  # for its accounts
async def test_at_the_limit_a_submission_is_a_503_and_below_it_is_accepted(
    database: Database, broker: InProcessBroker
) -> None:
    settings = GatewayOnlySettings(host="127.0.0.1", port=0, max_backlog=2)
    async with (
        open_test_gateway(database, broker.publisher(), settings=settings) as address,
        open_client(address, "ada") as ada,
    ):
        for ecg_id in ("1", "2"):
            async with ada.post("/ecg/process", json=an_ecg_body(id=ecg_id)) as response:
                assert response.status == 202
        await asyncio.sleep(1.3)  # measured once a second

        async with ada.post("/ecg/process", json=an_ecg_body(id="3")) as refused:
            problem = await problem_of(refused, 503)
            assert int(refused.headers["Retry-After"]) > 0
        headers = {"Content-Type": "application/vnd.isoline.ecg"}
        async with ada.post("/ecg/process", data=a_binary_body(b"{}", b""), headers=headers) as unread:
            await problem_of(unread, 503)
        async with ada.post("/ecg/process", json={}) as short_enough_to_be_read:
            await problem_of(short_enough_to_be_read, 422)

        async with ada.get("/health/ready", headers={"Accept-Encoding": "identity"}) as response:
            part = (await response.json())["parts"]["backlog"]

        async with database.connection() as connection:
            await connection.execute("DELETE FROM ecg")
        await asyncio.sleep(1.3)
        async with ada.post("/ecg/process", json=an_ecg_body(id="3")) as taken:
            assert taken.status == 202

    assert problem["detail"].startswith("As many ECGs are queued as may be, 2: ")
    assert response.status == 200
    assert part["state"] == "degraded"
    assert part["reason"] == "the backlog limit of 2 queued ECGs is reached"
