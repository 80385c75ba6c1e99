from __future__ import annotations

import asyncio
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from shared.domain.errors import ConfigurationError, UnavailableError
from shared.runtime.health import Health, HealthPart
from shared.runtime.operations_port import open_operations_port
from tests.support.logs import capture_logs
from tests.support.metrics import metrics_of

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

_LIMIT_S = 10


def open_port(host: str, port: int) -> AbstractAsyncContextManager[str]:
    """The operations port of a worker without parts."""
    health = Health({})
    return open_operations_port(host, port, health=health, metrics=metrics_of(health))


async def answer_of(address: str, path: str) -> tuple[int, Any]:
    async with (
        asyncio.timeout(_LIMIT_S),
        aiohttp.ClientSession(address) as session,
        session.get(path) as answer,
    ):
        return answer.status, await answer.json(content_type=None) if answer.ok else await answer.text()


async def test_it_answers_whether_the_worker_lives_and_whether_it_is_ready() -> None:
    troubles: list[Exception] = []

    async def check() -> None:
        if troubles:
            raise troubles[0]

    health = Health({"broker": HealthPart(check=check, impact="Nothing is lost.", is_in_memory=True)})
    async with open_operations_port("127.0.0.1", 0, health=health, metrics=metrics_of(health)) as address:
        live, ready = await answer_of(address, "/health/live"), await answer_of(address, "/health/ready")
        troubles.append(UnavailableError("away"))
        not_ready = await answer_of(address, "/health/ready")

    assert live == (200, {"status": "live"})
    assert (ready[0], ready[1]["status"]) == (200, "ready")
    assert not_ready[0] == 503
    assert '"reasons":{"broker":"away"}' in not_ready[1]


async def test_a_free_port_is_named_in_the_log_and_each_worker_has_its_own() -> None:
    with capture_logs() as records:
        async with AsyncExitStack() as opened:
            addresses = [
                await opened.enter_async_context(open_port(host, 0))
                for host in ("127.0.0.1", "127.0.0.1", "::1")
            ]

    assert [record["address"] for record in records] == addresses
    assert len(set(addresses)) == 3
    assert addresses[2].startswith("http://[::1]:")


async def test_a_port_that_is_taken_is_a_setting_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        expected = (
            rf"^ISOLINE_OPERATIONS_HOST, ISOLINE_OPERATIONS_PORT: can't listen on 127\.0\.0\.1:{port}: "
        )

        with pytest.raises(ConfigurationError, match=expected):
            async with open_port("127.0.0.1", port):
                pass
