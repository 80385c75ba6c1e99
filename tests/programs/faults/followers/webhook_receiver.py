"""A follower by webhook: it verifies each request, keeps each event once, and behaves badly at will."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from tests.programs.faults.followers.follower import Follower
from tests.programs.faults.load import PASSWORD
from tests.support.servers.services import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from tests.programs.faults.followers.follower import Events
    from tests.programs.faults.installation.installation import Installation

_INBOX: Final = "CREATE TABLE inbox (event TEXT PRIMARY KEY)"
_SLOW_S: Final = (0.2, 3.0)
_HANGS_S: Final = 60.0  # longer than any client waits


class Behaviour(StrEnum):
    """What becomes of a request. Half of those that fail do so once the event is kept."""

    GOOD = "answers"
    FAILS = "answers 500"
    HANGS = "hangs"
    RESETS = "resets"
    SLOW = "answers slowly"
    AWAY = "is away"


class WebhookReceiver(Follower):
    """What the receiver has handled; an event that it had in its inbox before was not handled again.

    Attributes:
        behaviour: Of requests that come from now on.
        behaved: How many requests met each behaviour.
        repeated: Requests with an event that was in the inbox before.
        secret: By which requests are verified.
    """

    def __init__(self, name: str, events: Events, seed: int) -> None:
        super().__init__(name, events, hears_once=True)
        self.behaviour = Behaviour.GOOD
        self.behaved: Counter[Behaviour] = Counter()
        self.repeated = 0
        self.secret = ""
        self.port = free_port()
        self._chance = random.Random(seed)  # noqa: S311 - the same for each run
        self._inbox = sqlite3.connect(":memory:")
        self._inbox.execute(_INBOX)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen."""
        application = web.Application()
        application.router.add_post("/", self._receive)
        # As no server of the wild does, but a handler that hangs shall not outlive its client.
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def stop(self) -> None:
        """Reset every connection, and refuse new ones."""
        if self._runner:
            await self._runner.cleanup()
        self._runner = None

    async def behave(self, behaviour: Behaviour) -> None:
        """Change the behaviour, and listen unless it is to be away."""
        self.behaviour = behaviour
        if behaviour is Behaviour.AWAY:
            await self.stop()
        elif self._runner is None:
            await self.start()

    async def _receive(self, request: web.Request) -> web.Response:
        event = self._verified(await request.read(), request.headers)
        behaviour = self.behaviour
        self.behaved[behaviour] += 1
        if behaviour in {Behaviour.GOOD, Behaviour.SLOW} or self._chance.random() < 0.5:
            self._keep(request.headers["webhook-id"], event)
        match behaviour:
            case Behaviour.FAILS:
                return web.Response(status=500)
            case Behaviour.HANGS:
                await asyncio.sleep(_HANGS_S)
            case Behaviour.RESETS if request.transport:
                request.transport.abort()
            case Behaviour.SLOW:
                await asyncio.sleep(self._chance.uniform(*_SLOW_S))
        return web.Response(status=204)

    def _verified(self, body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
        """The event, if it is signed; at any time, for clocks of the services are among the faults."""
        at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
        signature = Webhook(self.secret).sign(headers["webhook-id"], at, body.decode())
        assert signature in headers["webhook-signature"].split()
        event: dict[str, Any] = orjson.loads(body)
        return event

    def _keep(self, event_id: str, event: dict[str, Any]) -> None:
        with self._inbox:
            added = self._inbox.execute("INSERT OR IGNORE INTO inbox VALUES (?)", (event_id,)).rowcount
        if added:
            self.record(event)
        else:
            self.repeated += 1


@asynccontextmanager
async def open_webhook_receiver(
    installation: Installation, *, user: str, name: str = "the inbox of a webhook's receiver", seed: int = 0
) -> AsyncIterator[WebhookReceiver]:
    """Start a receiver and create its webhook, for the events of all owners; both go with the context."""
    receiver = WebhookReceiver(name, installation.listener.events, seed)
    await receiver.start()
    try:
        async with aiohttp.ClientSession(installation.balancer.address, raise_for_status=True) as session:
            login = {"user": user, "password": PASSWORD}
            async with session.post("/token", json=login) as answer:
                session.headers["Authorization"] = f"Bearer {(await answer.json())['access_token']}"
            wanted = {"url": f"http://127.0.0.1:{receiver.port}/", "all_owners": True}
            async with session.post("/webhook", json=wanted) as answer:
                webhook = await answer.json()
            receiver.secret = webhook["secret"]
            yield receiver
            await session.delete(f"/webhook/{webhook['id']}")
    finally:
        await receiver.stop()
