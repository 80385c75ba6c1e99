"""Which ids an ECG may have, and whose they are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from yarl import URL

from tests.http.conftest import problem_of
from tests.http.ecg_requests import another_body, get_json, submit
from tests.support.builders import an_ecg_body

if TYPE_CHECKING:
    import aiohttp

_NO_ECG = "You have no ECG of this id."


class TestIds:
    async def test_an_id_may_be_an_integer_and_is_kept_as_its_digits(
        self, ada: aiohttp.ClientSession
    ) -> None:
        _, receipt = await submit(ada, an_ecg_body(id=10))

        assert receipt["id"] == "10"
        assert (await get_json(ada, "/ecg/10"))["id"] == "10"

    @pytest.mark.parametrize("ecg_id", ["process", "a:b-c_d.e", "...", "x" * 128, -5])
    async def test_every_id_has_a_url(self, ada: aiohttp.ClientSession, ecg_id: str | int) -> None:
        async with ada.post("/ecg/process", json=an_ecg_body(id=ecg_id)) as response:
            location = response.headers["Location"]

        assert (await get_json(ada, location))["id"] == str(ecg_id)

    @pytest.mark.parametrize(
        "path", ["/ecg/none", "/ecg/a%2Fb", "/ecg/a%00", "/ecg/" + "x" * 129, "/ecg/%FF"]
    )
    async def test_an_unknown_id_is_a_404(self, ada: aiohttp.ClientSession, path: str) -> None:
        async with ada.get(URL(path, encoded=True)) as response:
            problem = await problem_of(response, 404)

        assert problem["detail"] == _NO_ECG

    async def test_another_owners_ecg_is_a_404(
        self, ada: aiohttp.ClientSession, bob: aiohttp.ClientSession
    ) -> None:
        await submit(ada, an_ecg_body(id="10"))

        async with bob.get("/ecg/10") as response:
            anothers = await problem_of(response, 404)
        async with bob.get("/ecg/11") as response:
            nobodys = await problem_of(response, 404)

        assert anothers == nobodys

    async def test_waiting_for_another_owners_ecg_ends_at_once(
        self, ada: aiohttp.ClientSession, bob: aiohttp.ClientSession
    ) -> None:
        await submit(ada, an_ecg_body(id="10"))

        async with asyncio.timeout(5), bob.get("/ecg/10?wait=30") as response:
            assert response.status == 404

    @pytest.mark.usefixtures("processor")
    async def test_two_owners_may_use_the_same_id(
        self, ada: aiohttp.ClientSession, bob: aiohttp.ClientSession
    ) -> None:
        of_ada = await submit(ada, an_ecg_body())
        of_bob = await submit(bob, another_body() | {"leads": [{"name": "V1", "signal": [1, 2]}]})

        assert of_ada == of_bob == (202, {"id": "10", "status": "queued"})
        assert (await get_json(ada, "/ecg/10?wait=10"))["leads"] == [{"I": {"zero_crossings": 2}}]
        assert (await get_json(bob, "/ecg/10?wait=10"))["leads"] == [{"V1": {"zero_crossings": 0}}]
