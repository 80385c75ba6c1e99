"""Both services with exactly the rights that the commands give them, by TLS with a CA of an operator's."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import aio_pika
import aiohttp
import pytest
from typer.testing import CliRunner

from gateway.accounts.password_hashing import PasswordHashing
from gateway.accounts.use_cases import create_account
from isoline.cli.app import app
from shared.broker.permissions import permissions_of
from shared.broker.topology import Topology, declare
from shared.domain.account import Role
from shared.domain.errors import UnavailableError
from shared.service import Service
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.schema.grants import grant
from tests.e2e.conftest import PASSWORD, Installation, Subscriber
from tests.support.roles import open_role
from tests.support.tls import TlsServers, database_url_by_tls, open_postgres_tls, open_tls_servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.storage.pool.database import Database

_WITHIN_S: Final = 60.0
_ECG: Final = {
    "id": "10",
    "date": "2026-11-30",
    "leads": [{"name": "I", "signal": [1, -1, 1]}],
}


@pytest.fixture(scope="module")
async def servers() -> AsyncIterator[TlsServers]:
    async with open_tls_servers() as servers:
        yield servers


@pytest.fixture
def amqp_url(servers: TlsServers) -> str:
    """Of an administrator of the broker; the services have other URLs."""
    return servers.rabbitmq.amqp_url


@pytest.fixture
async def limited(
    installation: Installation, servers: TlsServers, database_url: str, topology: Topology
) -> AsyncIterator[Installation]:
    """The installation; each service as an account that has what it needs and nothing else, by TLS."""
    async with await aio_pika.connect(servers.rabbitmq.amqp_url) as connection:
        await declare(await connection.channel(), topology)
    async with AsyncExitStack() as stack:
        roles = {
            service: await stack.enter_async_context(open_role(database_url, service)) for service in Service
        }
        await grant(database_url, {role: {service} for service, role in roles.items()})
        port = await stack.enter_async_context(
            open_postgres_tls(database_url, *servers.authority.sign("localhost"))
        )
        for service, role in roles.items():
            await servers.rabbitmq.control("add_user", role, "secret")
            await servers.rabbitmq.control("set_permissions", role, *permissions_of([service], topology))
            installation.environment |= {
                f"{service}_DATABASE_URL": database_url_by_tls(database_url, role, port, servers.authority),
                f"{service}_AMQP_URL": servers.amqp_url(role, "secret"),
            }
        yield installation


def be(installation: Installation, service: Service) -> None:
    """What is started from now on has the accounts of this service."""
    for server in ("DATABASE", "AMQP"):
        installation.environment[f"ISOLINE_{server}_URL"] = installation.environment[
            f"{service}_{server}_URL"
        ]


async def test_an_ecg_goes_all_the_way_with_the_rights_of_its_services_and_no_others(
    limited: Installation, subscriber: Subscriber
) -> None:
    be(limited, Service.GATEWAY)
    await limited.start_gateway()
    be(limited, Service.PROCESSOR)
    await limited.start_processor()

    async with asyncio.timeout(_WITHIN_S), aiohttp.ClientSession(limited.address) as client:
        async with client.post("/token", json={"user": "ada", "password": PASSWORD}) as answer:
            client.headers["Authorization"] = f"Bearer {(await answer.json())['access_token']}"
        async with client.post("/ecg/process", json=_ECG) as answer:
            submitted = answer.status
        async with client.get("/ecg/10", params={"wait": 30}) as answer:
            result = await answer.json()
        async with client.get("/ecg") as answer:
            listed = [ecg["id"] for ecg in (await answer.json())["ecgs"]]
        await subscriber.receive(1)
        async with client.get("/health/ready") as answer:
            parts = (await answer.json())["parts"]
        async with client.delete("/ecg/10") as answer:
            erased = answer.status

    assert (submitted, result["leads"], listed, erased) == (202, [{"I": {"zero_crossings": 2}}], ["10"], 204)
    assert [event["data"]["id"] for event in subscriber.events] == ["10"]
    assert {name: part["state"] for name, part in parts.items() if part["state"] != "ok"} == {}
    records = limited.records("gateway") + limited.records("processor")
    assert [record for record in records if record["level"] in {"warning", "error"}] == []


async def test_a_gateway_serves_operators_only_with_an_operators_rights(
    limited: Installation, servers: TlsServers, topology: Topology, database: Database
) -> None:
    await create_account(
        "olga",
        PASSWORD,
        [Role.OPERATOR],
        accounts=PostgresAccountStore(database),
        passwords=PasswordHashing(),
    )
    replay = {"filter": {"owner": "ada"}, "expected": 0, "reason": "why"}
    pause = {"state": "paused", "reason": "why"}
    requests: list[tuple[str, str, object]] = [
        ("GET", "overview", None),
        ("GET", "audit", None),
        ("GET", "dead-letters", None),
        ("PUT", "intake", pause),
        ("POST", "replays", replay),
    ]
    async with await aio_pika.connect(servers.rabbitmq.amqp_url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(topology.dead_letter_exchange)
        await exchange.publish(aio_pika.Message(b"no event"), "")
    be(limited, Service.GATEWAY)

    refused = await answers(limited, requests)
    for server in ("DATABASE", "AMQP"):
        operators = limited.environment[f"{Service.OPERATOR}_{server}_URL"]
        limited.environment[f"ISOLINE_OPERATOR_{server}_URL"] = operators
    served = await answers(limited, requests)

    assert [status for status, _ in served] == [200] * len(requests), served
    assert "permission denied for table throughput" in refused[0][1]
    assert "permission denied for table operation" in refused[1][1]
    assert "ISOLINE_OPERATOR_DATABASE_URL" in refused[1][1]
    assert "ISOLINE_OPERATOR_AMQP_URL" in refused[2][1]
    assert [status for status, _ in refused[:4]] == [503] * 4


async def test_a_command_of_operators_says_that_a_gateways_role_is_not_theirs(
    limited: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {}
    for service in (Service.GATEWAY, Service.OPERATOR):
        monkeypatch.setenv("ISOLINE_DATABASE_URL", limited.environment[f"{service}_DATABASE_URL"])
        said[service] = await asyncio.to_thread(CliRunner().invoke, app, ["ops", "audit"])

    assert said[Service.OPERATOR].exit_code == 0, said[Service.OPERATOR].output
    refusal = said[Service.GATEWAY].exception
    assert isinstance(refusal, UnavailableError)
    assert "permission denied" in str(refusal)
    assert "isoline db grant --operator ROLE" in str(refusal)


async def answers(
    installation: Installation, requests: list[tuple[str, str, object]]
) -> list[tuple[int, str]]:
    """Status and body of each of these requests of an operator, from a gateway that is started for them."""
    await installation.start_gateway()
    answered = []
    async with asyncio.timeout(_WITHIN_S), aiohttp.ClientSession(installation.address) as client:
        async with client.post("/token", json={"user": "olga", "password": PASSWORD}) as answer:
            client.headers["Authorization"] = f"Bearer {(await answer.json())['access_token']}"
        for method, path, body in requests:
            async with client.request(method, f"/ops/api/{path}", json=body) as answer:
                answered.append((answer.status, await answer.text()))
    return answered
