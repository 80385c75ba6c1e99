"""Services that begin a day late, one over RabbitMQ and one over HTTP, while ECGs go on coming."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import aio_pika
import aiohttp
import pytest

from gateway.accounts.password_hashing import PasswordHashing
from gateway.accounts.use_cases import create_account
from isoline.subscriber import subscribe
from shared.domain.account import Role
from shared.storage.postgres.accounts import PostgresAccountStore
from tests.e2e.conftest import PASSWORD, Installation
from tests.e2e.load import real_ecgs, submit_all
from tests.support.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika.abc import AbstractChannel, AbstractQueue

    from shared.broker.topology import Topology
    from shared.storage.pool.database import Database

_YESTERDAYS: Final = 150
_CONCURRENCY: Final = 4
_WITHIN_S: Final = 90.0
_TYPES: Final = ("ecg.processed", "ecg.failed", "ecg.deleted")
_UNPUBLISHED: Final = "SELECT count(*) FROM outbox"
_A_DAY_EARLIER: Final = "UPDATE event_log SET logged_at = logged_at - interval '1 day'"


class OtherService:
    """A service that has been there from the beginning, and what it has heard by event id."""

    def __init__(self, queue: AbstractQueue) -> None:
        self._queue = queue
        self.events: dict[str, dict[str, Any]] = {}
        self.bodies: list[bytes] = []

    async def listen(self) -> int:
        """Take what is there; of how many events it has heard."""
        while (message := await self._queue.get(fail=False, no_ack=True)) is not None:
            self.bodies.append(message.body)
            event = json.loads(message.body)
            self.events[event["id"]] = event
        return len(self.events)

    async def has_heard_of(self, ecg_ids: list[str]) -> bool:
        await self.listen()
        return {event["data"]["id"] for event in self.events.values()} >= set(ecg_ids)


@pytest.fixture
async def channel(amqp_url: str) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(amqp_url) as connection:
        yield await connection.channel()


@pytest.fixture
async def other(channel: AbstractChannel, topology: Topology) -> AsyncIterator[OtherService]:
    """Bound before anything happens."""
    exchange = await channel.declare_exchange(topology.exchange, aio_pika.ExchangeType.TOPIC, durable=True)
    queue = await channel.declare_queue(f"{topology.namespace}sub.other", durable=True)
    for type_ in _TYPES:
        await queue.bind(exchange, type_)
    yield OtherService(queue)
    for name in ("sub.other", "sub.billing", "sub.billing.dead"):
        await channel.queue_delete(topology.namespace + name)
    await channel.exchange_delete(f"{topology.namespace}sub.billing.dead")


async def test_what_comes_a_day_late_hears_each_event_once_with_its_first_id(
    installation: Installation, other: OtherService, database: Database, amqp_url: str, topology: Topology
) -> None:
    await create_account(
        "billing",
        PASSWORD,
        [Role.SUBSCRIBER],
        accounts=PostgresAccountStore(database),
        passwords=PasswordHashing(),
    )
    await asyncio.gather(installation.start_gateway(), installation.start_processor())
    async with asyncio.timeout(_WITHIN_S), _client(installation, "ada") as ada:
        await _happen(ada, other, database, "the day before", 1)
        await _move_a_day_back(database)
        await _happen(ada, other, database, "yesterday", _YESTERDAYS)
        async with ada.delete("/ecg/yesterday-7") as answer:
            assert answer.status == 204
        await until(lambda: _has_deleted(other, "yesterday-7"))
        await _until_all_is_published(database)
        await _move_a_day_back(database)
        yesterday, heard_before = dict(other.events), len(other.bodies)
        since = datetime.now(UTC) - timedelta(hours=36)

        over_amqp: list[dict[str, Any]] = []
        over_http: list[dict[str, Any]] = []
        async with asyncio.TaskGroup() as tasks:
            is_over = asyncio.Event()
            living = tasks.create_task(_submit_until(is_over, ada))
            late = [
                tasks.create_task(_follow_over_amqp(amqp_url, topology, over_amqp)),
                tasks.create_task(_follow_over_http(installation, since, over_http)),
            ]
            await until(lambda: over_amqp)  # its queue is bound
            printed = await _isoline(
                installation, "events", "send", "--queue", f"{topology.namespace}sub.billing",
                "--since", f"{since:%Y-%m-%dT%H:%M:%S}", "--why", "it comes late", "--yes",
            )  # fmt: skip
            await until(lambda: len(over_http) > _YESTERDAYS)
            is_over.set()
            live = await living
            await until(lambda: other.has_heard_of(live), within_s=_WITHIN_S)
            expected = {
                id_: event
                for id_, event in other.events.items()
                # What was erased is left out, but for its erasure.
                if (event["data"]["id"], event["type"]) != ("yesterday-7", "ecg.processed")
                and event["data"]["id"] != "the-day-before-0"
            }
            await until(lambda: _ids(over_amqp) >= expected.keys() and _ids(over_http) >= expected.keys())
            for task in late:
                task.cancel()

    assert "events were put into" in printed
    assert len(yesterday) == 1 + _YESTERDAYS + 1
    assert len(live) >= _CONCURRENCY
    assert {event["id"]: event for event in over_http} == expected
    assert {event["id"]: event["data"] for event in over_amqp} == {
        id_: event["data"] for id_, event in expected.items()
    }
    assert [len(over_amqp), len(over_http)] == [len(expected)] * 2
    assert not yesterday.keys() & {json.loads(body)["id"] for body in other.bodies[heard_before:]}


async def _happen(
    ada: aiohttp.ClientSession, other: OtherService, database: Database, when: str, ecgs: int
) -> None:
    """Have so many ECGs analysed and published."""
    ids: list[str] = []
    known = real_ecgs(ecgs, when.replace(" ", "-"))
    await submit_all(ada, known, concurrency=_CONCURRENCY, accepted=ids.append)
    await until(lambda: other.has_heard_of(ids), within_s=_WITHIN_S)
    await _until_all_is_published(database)


async def _has_deleted(other: OtherService, ecg_id: str) -> bool:
    await other.listen()
    return any(
        (event["type"], event["data"]["id"]) == ("ecg.deleted", ecg_id) for event in other.events.values()
    )


async def _until_all_is_published(database: Database) -> None:
    """From then on nothing of before is published again."""

    async def is_all_published() -> bool:
        async with database.connection() as connection:
            return not await connection.fetchval(_UNPUBLISHED)

    await until(is_all_published, within_s=_WITHIN_S)


async def _move_a_day_back(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute(_A_DAY_EARLIER)


async def _submit_until(is_over: asyncio.Event, ada: aiohttp.ClientSession) -> list[str]:
    """Submit ECGs one after the other; the ids of those that were accepted."""
    ids: list[str] = []
    for number in count():
        await submit_all(
            ada,
            real_ecgs(_CONCURRENCY, f"live-{number}"),
            concurrency=_CONCURRENCY,
            accepted=ids.append,
        )
        if is_over.is_set():
            return ids
    raise AssertionError


async def _follow_over_amqp(amqp_url: str, topology: Topology, heard: list[dict[str, Any]]) -> None:
    async with aclosing(
        subscribe(amqp_url, service="billing", types=_TYPES, namespace=topology.namespace)
    ) as events:
        async for event in events:
            heard.append({"id": str(event.id), "data": event.data})  # noqa: PERF401 - it is read meanwhile


async def _follow_over_http(installation: Installation, since: datetime, heard: list[dict[str, Any]]) -> None:
    """Read page by page, and from the last page's cursor on as a stream."""
    async with _client(installation, "billing") as client:
        query = {"since": since.isoformat(), "limit": "40"}
        while True:
            async with client.get("/events", params=query) as answer:
                page = await answer.json()
            heard += page["events"]
            query = {"after": page["cursor"], "limit": "40"}
            if not page["has_more"]:
                break
        async with client.get(
            "/events", headers={"Accept": "text/event-stream", "Last-Event-ID": page["cursor"]}
        ) as stream:
            async for line in stream.content:
                if line.startswith(b"data: "):
                    heard.append(json.loads(line.removeprefix(b"data: ")))


def _ids(heard: list[dict[str, Any]]) -> set[str]:
    return {event["id"] for event in heard}


async def _isoline(installation: Installation, *arguments: str) -> str:
    """What ``isoline ARGUMENTS`` prints; it succeeds."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "isoline", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | installation.environment,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    return printed.decode()


@asynccontextmanager
async def _client(installation: Installation, user: str) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=None)  # streams don't end
    async with aiohttp.ClientSession(installation.address, timeout=timeout) as session:
        async with session.post("/token", json={"user": user, "password": PASSWORD}) as answer:
            session.headers["Authorization"] = f"Bearer {(await answer.json())['access_token']}"
        yield session
