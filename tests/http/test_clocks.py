"""Gateways whose clocks differ accept each other's tokens."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import jwt
import pytest

from shared.domain.errors import UnavailableError
from shared.runtime.settings import GatewayOnlySettings
from shared.storage.postgres.accounts import PostgresAccountStore
from tests.http.conftest import PASSWORD, open_client, open_test_gateway, problem_of
from tests.support.builders import an_ecg_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from shared.broker.in_process import InProcessBroker
    from shared.ports.accounts import AccountChanges
    from shared.storage.pool.database import Database

_REVOCATION_S: Final = 0.4


class ShiftedAccounts(PostgresAccountStore):
    """Accounts of a PostgreSQL whose clock, as one gateway knows it, is ahead of the true one."""

    def __init__(self, database: Database, ahead_s: float) -> None:
        super().__init__(database)
        self._ahead_s = ahead_s

    async def recent_changes(self) -> AccountChanges:
        changes = await super().recent_changes()
        return changes._replace(now_s=changes.now_s + self._ahead_s)


class Gateways:
    """Clients of two gateways, the second one's time ahead by ``ahead_s``."""

    def __init__(self, database: Database, broker: InProcessBroker, opened: AsyncExitStack) -> None:
        self._database = database
        self._broker = broker
        self._opened = opened

    async def open(self, ahead_s: float) -> list[aiohttp.ClientSession]:
        settings = GatewayOnlySettings(host="127.0.0.1", port=0, revocation_s=_REVOCATION_S)
        clients = []
        for shift_s in (0.0, ahead_s):
            address = await self._opened.enter_async_context(
                open_test_gateway(
                    self._database,
                    self._broker.publisher(),
                    settings=settings,
                    accounts=ShiftedAccounts(self._database, shift_s),
                )
            )
            clients.append(await self._opened.enter_async_context(open_client(address)))
        return clients


@pytest.fixture
async def gateways(database: Database, broker: InProcessBroker, gateway: str) -> AsyncIterator[Gateways]:
    del gateway  # it has made the accounts
    async with AsyncExitStack() as opened:
        yield Gateways(database, broker, opened)


async def tokens_of(client: aiohttp.ClientSession, path: str, **body: str) -> dict[str, Any]:
    async with client.post(path, json=body) as response:
        assert response.status == 200
        tokens: dict[str, Any] = await response.json()
    return tokens


async def status_of(client: aiohttp.ClientSession, tokens: dict[str, Any]) -> int:
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    async with client.get("/ecg/nothing", headers=headers) as response:
        return response.status


@pytest.mark.parametrize("ahead_s", [-8, -2, 2, 8])
async def test_each_accepts_fresh_tokens_of_the_other(gateways: Gateways, ahead_s: float) -> None:
    clients = await gateways.open(ahead_s)

    for one, other in (clients, clients[::-1]):
        for user in ("ada", "bob"):
            made = await tokens_of(one, "/token", user=user, password=PASSWORD)
            renewed = await tokens_of(other, "/token/refresh", refresh_token=made["refresh_token"])

            statuses = [await status_of(client, of) for client in clients for of in (made, renewed)]
            assert statuses == [404] * 4


@pytest.mark.parametrize("ahead_s", [-8, 0, 8])
@pytest.mark.parametrize("change", ["password", "deletion"])
async def test_only_tokens_of_a_changed_account_are_revoked_at_both_within_the_stated_time(
    gateways: Gateways, root: aiohttp.ClientSession, ahead_s: float, change: str
) -> None:
    clients = await gateways.open(ahead_s)
    of_ada = [await tokens_of(client, "/token", user="ada", password=PASSWORD) for client in clients]
    of_bob = [await tokens_of(client, "/token", user="bob", password=PASSWORD) for client in clients]

    if change == "password":
        await root.put("/user/ada/password", json={"password": "another password"})
    else:
        await root.delete("/user/ada")
    await asyncio.sleep(_REVOCATION_S)

    assert [await status_of(client, of) for client in clients for of in of_ada] == [401] * 4
    assert [await status_of(client, of) for client in clients for of in of_bob] == [404] * 4


@pytest.mark.parametrize("hours", [-2, 2])
async def test_tokens_and_ecgs_are_dated_by_postgresqls_clock(gateways: Gateways, hours: float) -> None:
    """To a gateway whose machine is ``hours`` behind, PostgreSQL is ahead by so much."""
    ahead_s = hours * 3600
    _, client = await gateways.open(ahead_s)

    tokens = await tokens_of(client, "/token", user="ada", password=PASSWORD)
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    a_day_ahead = datetime.now(UTC) + timedelta(days=1, seconds=ahead_s)
    statuses = []
    for minutes in (-5, 5):
        date = (a_day_ahead + timedelta(minutes=minutes)).isoformat()
        body = an_ecg_body(id=f"at-{minutes}", date=date)
        async with client.post("/ecg/process", json=body, headers=headers) as response:
            statuses.append(response.status)

    assert claims["iat"] == pytest.approx(time.time() + ahead_s, abs=60)
    assert await status_of(client, tokens) == 404
    assert statuses == [202, 422]


async def test_a_gateway_without_postgresql_answers_tokens_with_503(
    database: Database, broker: InProcessBroker
) -> None:
    accounts = UnreachableAccounts(database)
    async with (
        open_test_gateway(database, broker.publisher(), accounts=accounts) as address,
        open_client(address, "ada") as ada,
        ada.get("/ecg/10") as response,
    ):
        await problem_of(response, 503)


class UnreachableAccounts(PostgresAccountStore):
    """Accounts whose queries fail."""

    async def recent_changes(self) -> AccountChanges:
        raise UnavailableError("PostgreSQL is away")
