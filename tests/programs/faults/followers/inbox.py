"""A follower that is a process of its own, killed at will: a service with an inbox in its own database."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import aio_pika.exceptions
import asyncpg
import orjson

from tests.programs.faults.followers.follower import Follower
from tests.programs.faults.followers.inbox_program import SERVICE
from tests.programs.faults.installation.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.programs.faults.followers.follower import Events
    from tests.programs.faults.installation.installation import Installation

_DATABASE: Final = "faults_inbox"
_QUEUE: Final = f"sub.{SERVICE}"
_POLL_S: Final = 0.05
_READ: Final = (
    "SELECT number, id, type, source, data, is_repeated FROM handled WHERE number > $1 ORDER BY number"
)


class InboxFollower(Follower):
    """What the process has handled; an event that it had in its inbox before was not handled again.

    Attributes:
        repeated: Deliveries of events that were in the inbox before.
    """

    def __init__(self, events: Events, database_url: str, service: Service) -> None:
        super().__init__("the inbox of a killed subscriber", events, hears_once=True)
        self.kills = 0
        self.repeated = 0
        self._database_url = database_url
        self._service = service
        self._last = 0

    async def kill(self) -> None:
        """Kill its process, and return when there is another one."""
        self.kills += 1
        pid = self._service.pid
        self._service.send(signal.SIGKILL)
        while self._service.pid == pid:
            await asyncio.sleep(_POLL_S)

    async def refresh(self) -> None:
        """Record the new rows of its table: one process adds them, in the order of their numbers."""
        connection = await asyncpg.connect(self._database_url, timeout=10)
        try:
            for row in await connection.fetch(_READ, self._last):
                self._last = row["number"]
                if row["is_repeated"]:
                    self.repeated += 1
                else:
                    self.record(dict(row) | {"data": orjson.loads(row["data"])})
        finally:
            await connection.close(timeout=5)


@asynccontextmanager
async def open_inbox_follower(installation: Installation) -> AsyncIterator[InboxFollower]:
    """Start the process with a database and a queue of its own; both go with the context."""
    database_url = urlunsplit(urlsplit(installation.postgres.url)._replace(path=f"/{_DATABASE}"))
    await installation.postgres.query(f"CREATE DATABASE {_DATABASE}")
    service = Service(
        "tests.programs.faults.followers.inbox_program",
        0,
        {"SUBSCRIBER_AMQP_URL": installation.rabbitmq.urls[0], "SUBSCRIBER_DATABASE_URL": database_url},
        installation.logs / "inbox.log",
    )
    running = asyncio.create_task(service.keep_running())
    try:
        await _until_consumed(installation)
        yield InboxFollower(installation.listener.events, database_url, service)
    finally:
        service.end()
        service.send(signal.SIGKILL)
        await asyncio.wait([running])
        await installation.postgres.query(f"DROP DATABASE {_DATABASE} WITH (FORCE)")
        await _delete_queues(installation)


async def _until_consumed(installation: Installation) -> None:
    while True:
        with suppress(aio_pika.exceptions.AMQPError):
            async with installation.rabbitmq.channel() as channel:
                queue = await channel.declare_queue(_QUEUE, passive=True)
                if queue.declaration_result.consumer_count:
                    return
        await asyncio.sleep(_POLL_S)


async def _delete_queues(installation: Installation) -> None:
    async with installation.rabbitmq.channel() as channel:
        for name in (_QUEUE, f"{_QUEUE}.dead"):
            await channel.queue_delete(name)
        await channel.exchange_delete(f"{_QUEUE}.dead")
