"""Requests while PostgreSQL or the broker is away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shared.runtime.settings import GatewayOnlySettings
from shared.storage.pool.database import open_database
from tests.http.conftest import open_client, open_test_gateway, problem_of
from tests.http.ecg_requests import get_json, submit, without_times_and_header
from tests.support.builders import an_ecg_body
from tests.support.servers.services import free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiohttp

    from shared.broker.in_process import InProcessBroker
    from shared.domain.errors import UnavailableError, UnroutableError
    from shared.events import Event
    from shared.storage.pool.database import Database

_LIMIT_S = 10


class SlowPublisher:
    """A broker that never confirms."""

    async def check(self) -> None:
        pass

    async def publish(self, events: Sequence[Event]) -> list[UnroutableError | UnavailableError | None]:
        await asyncio.Event().wait()
        return [None for _ in events]


class TestOutages:
    async def test_without_postgresql_a_request_is_a_503(self, broker: InProcessBroker) -> None:
        async with (
            open_database(f"postgresql://u:canary@127.0.0.1:{free_port()}/isoline") as database,
            open_test_gateway(database, broker.publisher()) as gateway,
            open_client(gateway, "ada") as ada,
        ):
            for asked in (
                ada.post("/ecg/process", json=an_ecg_body()),
                ada.get("/ecg/10"),
                ada.get("/ecg/10?wait=10"),
                ada.post("/token", json={"user": "ada", "password": "x"}),
            ):
                async with asyncio.timeout(_LIMIT_S), asked as response:
                    problem = await problem_of(response, 503)

                assert response.headers["Retry-After"].isdigit()
                assert problem["detail"].startswith(
                    "The gateway can't use its database at the moment. Send the"
                )
                assert "canary" not in await response.text()

    async def test_without_the_broker_an_ecg_is_accepted_and_queued(
        self, ada: aiohttp.ClientSession, broker: InProcessBroker
    ) -> None:
        broker.disconnect()

        assert await submit(ada, an_ecg_body()) == (202, {"id": "10", "status": "queued"})
        assert without_times_and_header(await get_json(ada, "/ecg/10")) == {"id": "10", "status": "queued"}

    async def test_a_broker_that_does_not_confirm_delays_submissions_by_the_timeout_at_most(
        self, database: Database
    ) -> None:
        settings = GatewayOnlySettings(host="127.0.0.1", port=0, publish_timeout_s=0.1)
        async with (
            open_test_gateway(database, SlowPublisher(), settings=settings) as gateway,
            open_client(gateway, "ada") as ada,
            asyncio.timeout(5),
        ):
            assert await submit(ada, an_ecg_body()) == (202, {"id": "10", "status": "queued"})
