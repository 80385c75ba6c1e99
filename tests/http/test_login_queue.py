"""Owners log in during floods of wrong passwords from one address or many."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import aiohttp
import pytest
from pydantic import SecretStr

from shared.domain.errors import RateLimitedError
from shared.runtime.settings import GatewayOnlySettings
from tests.http.conftest import PASSWORD, open_test_gateway
from tests.support.polling import until
from tests.support.servers.redis_server import open_redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from shared.broker.in_process import InProcessBroker
    from shared.storage.pool.database import Database

_AT_A_TIME: Final = 150
_TRIES: Final = 300
_OWNERS: Final = ("ada", "bob", "root", "both")


@pytest.fixture
async def client(
    database: Database, broker: InProcessBroker, gateway: str
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client without a connection limit, of a gateway with one trusted proxy."""
    del gateway  # it has made the accounts
    settings = GatewayOnlySettings(host="127.0.0.1", port=0, trusted_proxies=1)
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        open_test_gateway(database, broker.publisher(), settings=settings) as address,
        aiohttp.ClientSession(address, connector=connector, timeout=aiohttp.ClientTimeout(120)) as session,
    ):
        yield session


async def status_of(client: aiohttp.ClientSession, user: str, password: str, address: str) -> int:
    headers = {"X-Forwarded-For": address}
    async with client.post("/token", json={"user": user, "password": password}, headers=headers) as response:
        return response.status


class Attack:
    """Concurrent logins with wrong passwords, until the test ends them."""

    def __init__(self, client: aiohttp.ClientSession, try_of: Callable[[int], tuple[str, str]]) -> None:
        self.statuses: list[int] = []
        self._client = client
        self._try_of = try_of
        self._left = iter(range(_TRIES))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(_AT_A_TIME):
                tasks.create_task(self._try_some())

    async def until_it_fills_the_queue(self) -> None:
        """Return when all have been sent and the first were answered."""
        await until(lambda: len(self.statuses) >= 2)

    async def _try_some(self) -> None:
        for number in self._left:
            user, address = self._try_of(number)
            self.statuses.append(await status_of(self._client, user, "wrong", address))


@pytest.mark.parametrize(
    ("try_of", "owners", "address_of"),
    [
        pytest.param(
            lambda number: (f"nobody-{number}", "203.0.113.9"),
            _OWNERS,
            lambda number: f"192.0.2.{number}",
            id="one address, many accounts",
        ),
        pytest.param(
            lambda number: (f"nobody-{number}", f"2001:db8:bad:{number:x}::1"),
            _OWNERS,
            lambda number: f"2001:db8:{number:x}::1",
            id="one site of IPv6, many networks and accounts",
        ),
        pytest.param(
            lambda number: ("somebody", f"198.51.{number // 250}.{number % 250}"),
            _OWNERS,
            lambda number: f"192.0.2.{number}",
            id="many addresses, one account, and others log in",
        ),
    ],
)
async def test_owners_log_in_during_an_attack_without_waiting_for_its_queue(
    client: aiohttp.ClientSession,
    try_of: Callable[[int], tuple[str, str]],
    owners: tuple[str, ...],
    address_of: Callable[[int], str],
) -> None:
    attack = Attack(client, try_of)
    attacking = asyncio.create_task(attack.run())
    await attack.until_it_fills_the_queue()

    behind = []
    for number, owner in enumerate(owners, 1):
        before = len(attack.statuses)
        assert await status_of(client, owner, PASSWORD, address_of(number)) == 200
        behind.append(len(attack.statuses) - before)
    was_over = attacking.done()
    await attacking

    assert not was_over
    assert set(attack.statuses) <= {401, 429}
    # A login waits for those running and one of the attack's; twice, because its hash is renewed.
    assert max(behind) <= 20


async def test_an_owner_under_attack_from_many_addresses_logs_in_at_once_at_a_known_one(
    client: aiohttp.ClientSession,
) -> None:
    assert await status_of(client, "ada", PASSWORD, "192.0.2.1") == 200
    attack = Attack(client, lambda number: ("ada", f"198.51.{number // 250}.{number % 250}"))
    attacking = asyncio.create_task(attack.run())
    await attack.until_it_fills_the_queue()
    before = len(attack.statuses)

    status = await status_of(client, "ada", PASSWORD, "192.0.2.1")

    behind = len(attack.statuses) - before
    was_over = attacking.done()
    attacking.cancel()
    assert status == 200
    assert not was_over
    assert behind <= 10


async def test_an_attempt_refused_by_the_full_queue_is_no_failed_login(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a full queue would start a backoff for the accounts' owners."""
    monkeypatch.setattr("gateway.accounts.password_hashing.PasswordHashing.slot", refusing())
    for _ in range(10):
        assert await status_of(client, "ada", PASSWORD, "192.0.2.1") == 429
    monkeypatch.undo()

    assert await status_of(client, "ada", PASSWORD, "192.0.2.1") == 200


def refusing() -> Callable[..., object]:
    def slot(*_: object) -> object:
        raise RateLimitedError("Too many.", retry_after_s=2)

    return slot


async def test_failed_logins_survive_a_flush_of_redis(
    database: Database, broker: InProcessBroker, gateway: str, tmp_path: Path
) -> None:
    del gateway  # it has made the accounts
    async with open_redis_server(tmp_path) as redis:
        settings = GatewayOnlySettings(
            host="127.0.0.1", port=0, trusted_proxies=1, redis_url=SecretStr(redis.url)
        )
        async with (
            open_test_gateway(database, broker.publisher(), settings=settings) as address,
            aiohttp.ClientSession(address) as client,
        ):
            for _ in range(6):
                await status_of(client, "ada", "wrong", "203.0.113.9")
            await redis.flush()
            paused = await status_of(client, "ada", PASSWORD, "203.0.113.9")

            assert paused == 429
            assert await status_of(client, "ada", PASSWORD, "192.0.2.1") == 200
            assert await status_of(client, "bob", PASSWORD, "203.0.113.9") == 200
