"""`GET /events`: what happened, by pages and as a stream."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import pytest

from gateway.events.cursors import encode_cursor
from shared.domain.account import Role
from shared.domain.errors import UnavailableError
from shared.events import EventType
from shared.ports.event_log import LogPosition
from shared.storage.postgres.event_log import PostgresEventLog
from tests.http.conftest import TOKENS
from tests.support.builders import an_ecg_body
from tests.support.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.broker.in_process import InProcessBroker
    from shared.ports.event_log import LogPage
    from shared.storage.pool.database import Database

_STREAM: Final = {"Accept": "text/event-stream"}
_WITHIN_S: Final = 20.0


@asynccontextmanager
async def _client(
    address: str, role: Role, *, ends_in_s: float = 900
) -> AsyncIterator[aiohttp.ClientSession]:
    now = datetime.now(UTC) - timedelta(seconds=900 - ends_in_s)
    token = TOKENS.issue("ada" if role is Role.USER else "eve", [role], now=now)
    async with aiohttp.ClientSession(address, headers={"Authorization": f"Bearer {token}"}) as client:
        yield client


async def _fail(*_: object, **__: object) -> LogPage:
    raise UnavailableError("away", is_logged=True)


async def submit(client: aiohttp.ClientSession, *ids: str) -> None:
    for ecg_id in ids:
        async with client.post("/ecg/process", json=an_ecg_body(id=ecg_id)) as response:
            assert response.status == 202
        async with client.get(f"/ecg/{ecg_id}?wait=20") as response:
            assert (await response.json())["status"] == "completed"


async def events(client: aiohttp.ClientSession, **query: Any) -> dict[str, Any]:
    async with client.get("/events", params=query, headers={"Accept-Encoding": "identity"}) as response:
        assert response.status == 200, await response.read()
        document: dict[str, Any] = await response.json()
    return document


def subjects(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(event["type"], event["subject"]) for event in document["events"]]


@asynccontextmanager
async def stream(client: aiohttp.ClientSession, path: str = "/events", **headers: str) -> AsyncIterator[Any]:
    """Yield a generator of events, each as a dictionary of its fields."""
    async with asyncio.timeout(_WITHIN_S), client.get(path, headers=_STREAM | headers) as response:
        assert response.status == 200, await response.read()
        assert response.content_type == "text/event-stream"

        async def each() -> AsyncIterator[dict[str, str]]:
            fields: dict[str, str] = {}
            async for line in response.content:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                else:
                    yield fields
                    fields = {}

        yield each()


async def next_data(received: Any) -> dict[str, str]:
    """The next event that has data."""
    while "data" not in (fields := await anext(received)):
        pass
    return fields  # type: ignore[no-any-return]


@pytest.mark.usefixtures("processor")
class TestPages:
    async def test_what_happened_is_read_in_order_and_on_from_a_cursor(
        self, ada: aiohttp.ClientSession
    ) -> None:
        await submit(ada, "10", "11")
        first = await events(ada, limit=1)
        second = await events(ada, after=first["cursor"])
        async with ada.delete("/ecg/10") as response:
            assert response.status == 204
        third = await events(ada, after=second["cursor"])

        assert (subjects(first), first["has_more"]) == ([("ecg.processed", "ada/10")], True)
        assert (subjects(second), second["has_more"]) == ([("ecg.processed", "ada/11")], False)
        assert subjects(third) == [("ecg.deleted", "ada/10")]
        assert subjects(await events(ada)) == [("ecg.processed", "ada/11"), ("ecg.deleted", "ada/10")]
        assert subjects(await events(ada, after="latest")) == []

    async def test_they_are_those_that_are_published(
        self, ada: aiohttp.ClientSession, broker: InProcessBroker
    ) -> None:
        broker.bind("sub.billing", EventType.PROCESSED)
        await submit(ada, "10")
        async with asyncio.timeout(_WITHIN_S), broker.consumer("sub.billing", prefetch=1) as subscriber:
            [published] = await subscriber.receive(1)

        assert (await events(ada))["events"] == [json.loads(published.body)]

    async def test_an_owner_sees_its_own_and_a_subscriber_all(
        self, ada: aiohttp.ClientSession, bob: aiohttp.ClientSession, gateway: str
    ) -> None:
        await submit(ada, "10")
        await submit(bob, "10")

        assert subjects(await events(ada)) == [("ecg.processed", "ada/10")]
        async with _client(gateway, Role.SUBSCRIBER) as billing:
            assert subjects(await events(billing)) == [
                ("ecg.processed", "ada/10"),
                ("ecg.processed", "bob/10"),
            ]
            assert subjects(await events(billing, types="ecg.failed,ecg.deleted")) == []
            assert subjects(await events(billing, since="2999-01-01")) == []

    async def test_an_operator_sees_none(self, gateway: str) -> None:
        async with _client(gateway, Role.OPERATOR) as olga, olga.get("/events") as response:
            assert response.status == 403


class TestBadRequests:
    @pytest.mark.parametrize(
        ("query", "said"),
        [
            ("after=", "after: expected a cursor of an earlier answer, or latest"),
            ("after=AAAA", "after: expected a cursor"),
            ("after=W10", "after: expected a cursor"),
            ("after=WzEsMSwxXQ", "after: expected a cursor"),
            ("after=WzEuNSwxXQ", "after: expected a cursor"),
            ("after=" + "A" * 100, "after: "),
            ("after=%C3%A9", "after: expected a cursor"),
            ("types=ecg.submitted", "types: expected some of ecg.processed, ecg.failed, ecg.deleted"),
            ("types=", "types: expected some of"),
            ("types=ecg.failed,", "types: expected some of"),
            ("limit=0", "limit: "),
            ("limit=1001", "limit: "),
            ("limit=x", "limit: "),
            ("since=yesterday", "since: expected a time"),
            ("after=latest&after=latest", "after: expected it once"),
            ("from=1", "from: "),
        ],
    )
    async def test_a_query_that_does_not_fit_is_refused_with_what_is_wrong(
        self, ada: aiohttp.ClientSession, query: str, said: str
    ) -> None:
        async with ada.get(f"/events?{query}") as response:
            problem = await response.json()

        assert response.status == 400
        assert said in problem["detail"]

    async def test_a_cursor_of_another_database_or_of_what_is_forgotten_is_gone(
        self, ada: aiohttp.ClientSession, database: Database
    ) -> None:
        ahead = encode_cursor(LogPosition(2**62, 1))
        async with database.connection() as connection:
            await connection.execute("UPDATE event_log_start SET xid = pg_current_xact_id()")
        forgotten = encode_cursor(LogPosition(3, 1))

        for cursor in (ahead, forgotten):
            for headers in ({}, _STREAM, _STREAM | {"Last-Event-ID": cursor}):
                query = "" if "Last-Event-ID" in headers else f"?after={cursor}"
                async with ada.get(f"/events{query}", headers=headers) as response:
                    problem = await response.json()
                assert (response.status, problem["title"]) == (410, "Gone")
        async with ada.get("/events", headers=_STREAM | {"Last-Event-ID": "x"}) as response:
            assert response.status == 410

    async def test_without_a_token_there_are_none(self, gateway: str) -> None:
        async with (
            aiohttp.ClientSession(gateway) as nobody,
            nobody.get("/events", headers=_STREAM) as response,
        ):
            assert response.status == 401


@pytest.mark.usefixtures("processor")
class TestStream:
    async def test_it_begins_with_what_was_and_goes_on_with_what_happens(
        self, ada: aiohttp.ClientSession
    ) -> None:
        await submit(ada, "10")
        async with stream(ada) as received:
            first = await next_data(received)
            await submit(ada, "11")
            second = await next_data(received)

        assert [first["event"], second["event"]] == ["ecg.processed"] * 2
        assert [json.loads(each["data"])["subject"] for each in (first, second)] == ["ada/10", "ada/11"]

    async def test_it_goes_on_after_the_last_id_without_a_gap(self, ada: aiohttp.ClientSession) -> None:
        await submit(ada, "10", "11")
        async with stream(ada) as received:
            first = await next_data(received)
        await submit(ada, "12")

        async with stream(ada, **{"Last-Event-ID": first["id"]}) as received:
            rest = [json.loads((await next_data(received))["data"])["subject"] for _ in range(2)]

        assert rest == ["ada/11", "ada/12"]

    async def test_its_ids_are_cursors_of_pages_too(self, ada: aiohttp.ClientSession) -> None:
        await submit(ada, "10", "11")
        async with stream(ada) as received:
            first = await next_data(received)

        assert subjects(await events(ada, after=first["id"])) == [("ecg.processed", "ada/11")]

    async def test_only_new_ones_of_some_types_may_be_asked_for(self, ada: aiohttp.ClientSession) -> None:
        await submit(ada, "10")
        async with stream(ada, "/events?after=latest&types=ecg.deleted") as received:
            await submit(ada, "11")
            await ada.delete("/ecg/10")
            deleted = await next_data(received)

        assert (deleted["event"], json.loads(deleted["data"])["subject"]) == ("ecg.deleted", "ada/10")

    async def test_what_was_not_asked_for_moves_the_id_on(
        self, ada: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gateway.events.handlers._HEARTBEAT_S", 0.01)
        await submit(ada, "10")
        async with stream(ada, "/events?types=ecg.failed") as received:
            while subjects(await events(ada, after=(await anext(received))["id"])):
                pass

    async def test_a_caller_has_so_many_streams(
        self, ada: aiohttp.ClientSession, bob: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gateway.events.following._MOST_OF_A_CALLER", 1)
        monkeypatch.setattr("gateway.events.handlers._HEARTBEAT_S", 0.01)
        async with stream(ada) as received:
            await anext(received)
            async with ada.get("/events", headers=_STREAM) as refused:
                assert refused.status == 429
            monkeypatch.setattr("gateway.events.following._MOST_FOLLOWERS", 1)
            async with bob.get("/events", headers=_STREAM) as refused:
                assert refused.status == 503

        async def is_free() -> bool:
            async with ada.get("/events", headers=_STREAM) as response:
                return response.status == 200

        await until(is_free)

    async def test_it_ends_with_the_token(self, gateway: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gateway.events.handlers._HEARTBEAT_S", 0.01)
        monkeypatch.setattr("gateway.events.handlers._AUTHORIZE_EVERY_S", 0.0)
        async with _client(gateway, Role.USER, ends_in_s=2) as soon, stream(soon) as received:
            while (last := await anext(received)).get("event") != "end":
                pass

        assert "token" in json.loads(last["data"])["reason"]

    async def test_an_outage_is_said_within_it_and_it_goes_on(
        self, ada: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gateway.events.handlers._HEARTBEAT_S", 0.01)
        monkeypatch.setattr("gateway.events.handlers._TRY_AGAIN_AFTER_S", 0.01)
        async with stream(ada) as received:
            await anext(received)
            with monkeypatch.context() as broken:
                broken.setattr(PostgresEventLog, "read", _fail)
                said = await next_data(received)
            await submit(ada, "10")
            while (event := await next_data(received))["event"] != "ecg.processed":
                pass

        assert said["event"] == "unavailable"
        assert json.loads(event["data"])["subject"] == "ada/10"
