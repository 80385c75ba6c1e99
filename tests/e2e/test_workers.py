"""A gateway and a processor of two workers each, on real servers."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from yarl import URL

from tests.e2e.conftest import PASSWORD, Installation
from tests.e2e.load import known_findings, real_ecgs, submit_all
from tests.support.polling import until
from tests.support.servers.services import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_WITHIN_S: Final = 60.0
_POLL_S: Final = 0.05
_TWO: Final = ("--workers", "2")
_SERVICES: Final = ("gateway", "processor")
_CLIENTS: Final = 8
_ECGS: Final = 300
_SOME: Final = 50


@asynccontextmanager
async def open_client(address: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A client as ada that opens a connection for each request, so that any worker may answer."""
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(address, connector=connector) as session:
        async with session.post("/token", json={"user": "ada", "password": PASSWORD}) as answer:
            session.headers["Authorization"] = f"Bearer {(await answer.json())['access_token']}"
        yield session


def workers_that_answered(installation: Installation, path: str) -> set[int]:
    return {record["worker"] for record in installation.records("gateway") if record.get("route") == path}


async def until_all_answer(installation: Installation, client: aiohttp.ClientSession) -> None:
    """The gateway is ready as soon as its first worker is; the second comes a moment later."""
    while workers_that_answered(installation, "/ecg") != {1, 2}:
        async with client.get("/ecg") as answer:
            assert answer.status == 200
        await asyncio.sleep(_POLL_S)


async def test_two_workers_answer_on_one_port_and_two_measure_what_comes(installation: Installation) -> None:
    ecgs = real_ecgs(_ECGS, "shared")
    await asyncio.gather(installation.start_gateway(*_TWO), installation.start_processor(*_TWO))

    async with asyncio.timeout(_WITHIN_S), open_client(installation.address) as client:
        await until_all_answer(installation, client)
        await submit_all(client, ecgs, concurrency=_CLIENTS, accepted=lambda _: None)
        found = [await _found(client, ecg.body["id"]) for ecg in ecgs]

    assert found == [ecg.findings for ecg in ecgs]
    assert workers_that_answered(installation, "/ecg/process") == {1, 2}
    settled = Counter[int | None]()
    for record in installation.records("processor"):
        settled[record.get("worker")] += record.get("settled", 0)
    assert settled[1] + settled[2] == _ECGS
    assert min(settled[1], settled[2]) > 0


async def test_each_worker_of_both_services_is_asked_for_its_health_by_itself(
    installation: Installation,
) -> None:
    first = free_port(2)
    installation.environment["ISOLINE_OPERATIONS_PORT"] = str(first)
    await installation.start_gateway(*_TWO)
    del installation.environment["ISOLINE_OPERATIONS_PORT"]
    await installation.start_processor(*_TWO)  # which reads it under its older name

    async with asyncio.timeout(_WITHIN_S), aiohttp.ClientSession() as session:
        ports = {service: await _operations_ports(installation, service) for service in _SERVICES}
        for port in ports["gateway"] + ports["processor"]:
            await until(partial(_is_ready, session, port))

    assert ports["gateway"] == [first, first + 1]
    assert ports["processor"][1] == ports["processor"][0] + 1


async def test_requests_while_the_workers_stop_are_all_answered(installation: Installation) -> None:
    installation.environment["ISOLINE_DRAIN_S"] = "5"  # longer than the rest of this test's requests take
    gateway = await installation.start_gateway(*_TWO)
    statuses: list[int] = []
    ecgs = iter(real_ecgs(10_000, "draining"))
    enough = asyncio.Event()

    async def submit_some(client: aiohttp.ClientSession) -> None:
        while not enough.is_set():
            async with client.post("/ecg/process", json=next(ecgs).body) as answer:
                statuses.append(answer.status)

    async with asyncio.timeout(_WITHIN_S), open_client(installation.address) as client:
        await until_all_answer(installation, client)
        async with asyncio.TaskGroup() as clients:
            for _ in range(_CLIENTS):
                clients.create_task(submit_some(client))
            await until(lambda: len(statuses) >= _SOME)
            gateway.terminate()
            await until(lambda: _workers_asked_to_stop(installation) == {1, 2})
            so_far = len(statuses)
            await until(lambda: len(statuses) >= so_far + _SOME)
            enough.set()
        status = await gateway.wait()

    assert set(statuses) == {202}
    assert status == 0


async def test_a_second_gateway_on_the_port_of_workers_is_refused_in_one_sentence(
    installation: Installation,
) -> None:
    await installation.start_gateway(*_TWO)
    port = URL(installation.address).port
    environment = {"ISOLINE_HOST": "127.0.0.1", "ISOLINE_PORT": str(port)}

    refused = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *_TWO),
        env=os.environ | installation.environment | environment,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(_WITHIN_S):
        _, said = await refused.communicate()

    assert refused.returncode == 2
    assert said.decode() == (
        f"ISOLINE_HOST, ISOLINE_PORT: can't listen on 127.0.0.1:{port}: Address already in use\n"
    )


async def _operations_ports(installation: Installation, service: str) -> list[int]:
    """The operations ports of both workers, from their logs."""
    while True:
        found = {
            record["worker"]: URL(record["address"]).port or 0
            for record in installation.records(service)
            if record["message"] == "the operations port is open"
        }
        if len(found) == 2:
            return [found[1], found[2]]
        await asyncio.sleep(_POLL_S)


async def _is_ready(session: aiohttp.ClientSession, port: int) -> bool:
    async with session.get(f"http://127.0.0.1:{port}/health/ready") as answer:
        return answer.ok


def _workers_asked_to_stop(installation: Installation) -> set[int]:
    records = installation.records("gateway")
    return {
        record["worker"] for record in records if record["message"] == "stop requested" and "worker" in record
    }


async def _found(client: aiohttp.ClientSession, ecg_id: str) -> dict[str, dict[str, Any]]:
    async with client.get(f"/ecg/{ecg_id}", params={"wait": 30}) as answer:
        document = await answer.json()
    return known_findings(document)
