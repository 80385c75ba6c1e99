"""Webhooks on real processes: a receiver of moods and a processor that is killed lose no event."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import orjson
from aiohttp import web
from standardwebhooks.webhooks import Webhook

from tests.e2e.conftest import PASSWORD
from tests.support.polling import until

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

    from shared.storage.pool.database import Database
    from tests.e2e.conftest import Installation

_ECGS: Final = 300
_WITHIN_S: Final = 120.0
_ECG: Final = {"date": "2026-01-05", "leads": [{"name": "I", "signal": [1, -1, 1]}]}
# Pauses end at once, as they do by themselves in seconds and minutes.
_LATER: Final = """
WITH webhooks AS (UPDATE webhook SET resume_at = now() WHERE resume_at > now())
UPDATE webhook_delivery SET due_at = now() WHERE due_at > now()
"""
_NOTED: Final = "SELECT count(*) FROM webhook_delivery WHERE state = 'delivered'"


class Receiver:
    """A receiver that verifies each request and keeps what it took.

    Attributes:
        secret: Of the webhook.
        moods: What it does instead of answering 200, by chance; None for nothing.
        taken: The ECGs of the events, by the id of the event.
    """

    def __init__(self) -> None:
        self.secret = ""
        self.moods: Random | None = None
        self.taken: dict[str, str] = {}
        self.num_requests = 0

    async def take(self, request: web.Request) -> web.Response:
        """Take an event, or be in a mood."""
        self.num_requests += 1
        body = await request.read()
        event: dict[str, Any] = Webhook(self.secret).verify(body, dict(request.headers))
        assert event["id"] == request.headers["webhook-id"]
        mood = self.moods.random() if self.moods else 1.0
        if mood < 0.1:
            return web.Response(status=500)
        if mood < 0.2 and request.transport is not None:
            request.transport.abort()
        self.taken[event["id"]] = event["data"].get("id", "")
        return web.Response()  # in 0.1 to 0.2 it took the event, and its answer is lost


@asynccontextmanager
async def open_receiver() -> AsyncIterator[tuple[Receiver, str]]:
    """Yield a receiver and its URL."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield receiver, f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def open_client(installation: Installation) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that is logged in as ada."""
    async with aiohttp.ClientSession(installation.address) as session:
        async with session.post("/token", json={"user": "ada", "password": PASSWORD}) as answer:
            session.headers["Authorization"] = f"Bearer {(await answer.json())['access_token']}"
        yield session


async def post(session: aiohttp.ClientSession, path: str, body: object, *, expected: int) -> dict[str, Any]:
    async with session.post(path, json=body) as answer:
        assert answer.status == expected, await answer.text()
        return orjson.loads(await answer.read())  # type: ignore[no-any-return]


async def submit(session: aiohttp.ClientSession, ids: range, *, kill: Process | None = None) -> None:
    for number in ids:
        await post(session, "/ecg/process", _ECG | {"id": str(number)}, expected=202)
        if kill is not None and number == ids[len(ids) // 2]:
            kill.kill()


async def test_a_receiver_of_moods_gets_every_event_though_processors_are_killed(
    installation: Installation, database: Database
) -> None:
    installation.environment["ISOLINE_WEBHOOK_NETWORKS"] = "127.0.0.0/8"
    await installation.start_gateway()
    doomed, _ = await asyncio.gather(installation.start_processor(), installation.start_processor())

    async with open_receiver() as (receiver, url), open_client(installation) as session:
        receiver.moods = Random(0)  # noqa: S311
        webhook = await post(session, "/webhook", {"url": url}, expected=201)
        receiver.secret = webhook["secret"]
        await submit(session, range(_ECGS), kill=doomed)
        await installation.start_processor()

        async def is_done() -> bool:
            async with database.connection() as connection:
                await connection.execute(_LATER)
                noted = await connection.fetchval(_NOTED)
            return bool(noted == _ECGS)

        await until(is_done, within_s=_WITHIN_S)
        async with session.get(f"/webhook/{webhook['id']}") as answer:
            found = await answer.json()

    assert doomed.returncode == -9
    assert sorted(receiver.taken.values()) == sorted(map(str, range(_ECGS)))
    assert receiver.num_requests > _ECGS
    assert (found["state"], found["waiting"]) == ("active", 0)
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM webhook_delivery") == _ECGS
