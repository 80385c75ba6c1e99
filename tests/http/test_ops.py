"""The operations API on a real gateway, processor and database."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest
from yarl import URL

from gateway.app import ROUTES
from gateway.ops import feature, overview_feed
from gateway.ops.routes import OPS_ROUTES
from shared.domain.account import Account, Role
from shared.events import EcgKey, Event, EventType, failed_event
from shared.ports.ecgs import Settlement
from shared.ports.operators.processes import Presence
from shared.ports.operators.throughput import SettledCounts
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.operators.processes import PostgresProcesses
from shared.storage.postgres.operators.throughput import PostgresThroughput
from tests.http.conftest import QUEUE, TOKENS, open_client, open_raw, open_test_gateway, problem_of
from tests.support.builders import SOURCE, a_submission
from tests.support.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    import aiohttp

    from shared.broker.in_process import InProcessBroker
    from shared.storage.pool.database import Database

_WHY: Final = "mended in 0.2.1"
_REASONS: Final = ("Given up after 5 attempts.", "zero_crossings could not be measured: ValueError", "no")
_OWNERS: Final = ("ada", "bob", "cleo", "https://issuer.example/#dora")


@pytest.fixture
async def olga(gateway: str) -> AsyncIterator[aiohttp.ClientSession]:
    """An operator."""
    async with open_client(gateway, "olga") as session:
        yield session


@pytest.fixture
async def otto(gateway: str) -> AsyncIterator[aiohttp.ClientSession]:
    """An observer."""
    async with open_client(gateway, "otto") as session:
        yield session


async def fail(database: Database, owner: str, ecg_id: str, reason: str) -> None:
    """Submit an ECG that fails for this reason."""
    store, key = PostgresEcgStore(database), EcgKey(owner, ecg_id)
    await store.add([a_submission(ecg_id, owner=owner)])
    [claim] = (await store.claim([key], claim_id=uuid4())).claimed
    event = failed_event(key, reason, source=SOURCE, now=datetime.now(UTC), traceparent=None)
    await store.settle([Settlement(claim, event, error=reason)])


async def fail_many(database: Database) -> None:
    """Two ECGs of each owner fail for each reason, the last reason once more."""
    for owner in _OWNERS:
        for number, reason in enumerate((*_REASONS, *_REASONS, _REASONS[-1])):
            await fail(database, owner, f"{number}", reason)


async def get(client: aiohttp.ClientSession, path: str, **params: str) -> dict[str, Any]:
    plain = {"Accept-Encoding": "identity"}
    url = URL(f"/ops/api/{path}", encoded=True).update_query(params)
    async with client.get(url, headers=plain) as response:
        assert response.status == 200, await response.text()
        document: dict[str, Any] = await response.json()
        return document


def a_replay(expected: int, **conditions: str) -> dict[str, Any]:
    return {"filter": conditions, "expected": expected, "reason": _WHY}


async def status_of(client: aiohttp.ClientSession, method: str, path: str, body: object) -> int:
    async with client.request(method, f"/ops/api/{path}", json=body) as response:
        return response.status


class TestRoles:
    def test_every_route_is_for_operators_and_those_that_change_nothing_for_observers_too(self) -> None:
        assert {id(route) for route in OPS_ROUTES} <= {id(route) for route in ROUTES}
        for route in OPS_ROUTES:
            observers = {Role.OBSERVER} if route.method == "GET" else set()
            assert route.roles == {Role.OPERATOR} | observers

    async def test_an_observer_reads_and_may_not_act(self, otto: aiohttp.ClientSession) -> None:
        letters = {"names": ["3f2a90c1d4e7"], "reason": _WHY}
        actions = [
            ("POST", "replays", a_replay(1, status="failed")),
            ("POST", "dead-letters/replay", letters),
            ("POST", "dead-letters/drop", letters),
            ("PUT", "intake", {"state": "paused", "reason": _WHY}),
        ]

        assert (await get(otto, "overview"))["intake"]["state"] == "running"
        for method, path, body in actions:
            assert await status_of(otto, method, path, body) == 403
        assert (await get(otto, "audit"))["records"] == []


class TestReading:
    async def test_the_overview_tells_what_waits_what_was_settled_and_who_runs(
        self, otto: aiohttp.ClientSession, database: Database
    ) -> None:
        await PostgresEcgStore(database).add([a_submission("1"), a_submission("2")])
        await fail(database, "ada", "3", _WHY)
        counts = SettledCounts()
        counts.add(completed=3, failed=1, latencies_s=[0.02, 0.02, 0.02, 100])
        killed = Presence(uuid4(), "processor", 1, "host", "0.2.0")
        await PostgresProcesses(database).announce(killed)
        async with database.connection() as connection:
            await connection.execute("UPDATE process SET seen_at = seen_at - interval '1 minute'")
        process = Presence(uuid4(), "processor", 1, "host", "0.2.0", held_ecgs=4, is_paused=True)
        await PostgresProcesses(database).announce(process)
        for _ in range(2):
            await PostgresThroughput(database).add(process.id, counts)

        overview = await get(otto, "overview")
        listed = await get(otto, "processes")

        assert overview["backlog"]["queued_ecgs"] == 2
        assert overview["failed_ecgs"] == 1
        for window in (overview["throughput"]["now"], overview["throughput"]["hour"]):
            assert (window["completed"], window["failed"]) == (6, 2)
            assert 0.01 < window["p50_s"] <= 0.025
            assert 60 < window["p95_s"] <= 300
            assert window["per_second"] == pytest.approx(8 / window["seconds"])
        assert [(each["completed"], each["failed"]) for each in overview["throughput"]["minutes"]] == [(6, 2)]
        assert overview["processes"] == {"processor": {"paused": 1}}
        assert overview["dead_letters"] == {"waiting": 0, "reason": ""}
        assert overview["health"]["parts"]["schema"]["state"] == "ok"
        [_, shown] = listed["processes"]
        assert (shown["service"], shown["host"], shown["state"], shown["held_ecgs"]) == (
            "processor",
            "host",
            "paused",
            4,
        )

    async def test_failed_ecgs_are_counted_by_reason_and_listed_by_the_same_words(
        self, otto: aiohttp.ClientSession, database: Database
    ) -> None:
        await fail_many(database)

        failures = await get(otto, "failures")
        of_dora = await get(otto, "failures", owner=_OWNERS[3], id="2")
        listed = await get(otto, "ecgs", status="failed", reason=_REASONS[0], owner="bob")
        later = await get(otto, "ecgs", since=failures["as_of"])
        earlier = await get(otto, "failures", until=failures["as_of"])

        assert [(group["reason"], group["ecgs"], group["owners"]) for group in failures["groups"]] == [
            (_REASONS[2], 12, 4),
            (_REASONS[0], 8, 4),
            (_REASONS[1], 8, 4),
        ]
        assert [(group["reason"], group["ecgs"]) for group in of_dora["groups"]] == [(_REASONS[2], 1)]
        assert [(ecg["owner"], ecg["id"], ecg["reason"]) for ecg in listed["ecgs"]] == [
            ("bob", "3", _REASONS[0]),
            ("bob", "0", _REASONS[0]),
        ]
        assert later["ecgs"] == []
        assert earlier["groups"] == failures["groups"]

    async def test_pages_hold_each_ecg_once(self, otto: aiohttp.ClientSession, database: Database) -> None:
        await fail_many(database)
        seen: list[tuple[str, str]] = []
        page = await get(otto, "ecgs", status="failed", limit="5")
        seen += [(ecg["owner"], ecg["id"]) for ecg in page["ecgs"]]
        while "next_cursor" in page:
            page = await get(otto, "ecgs", status="failed", limit="5", cursor=page["next_cursor"])
            seen += [(ecg["owner"], ecg["id"]) for ecg in page["ecgs"]]

        assert len(seen) == len(set(seen)) == 28

    @pytest.mark.parametrize(
        "query",
        [
            "since=today",
            "since=9999-12-31T23:59:59-14:00",
            "status=queued",
            "id=..%2F",
            "cursor=WzFd",
            "limit=0",
        ],
    )
    async def test_a_query_that_does_not_fit_gets_a_reason(
        self, otto: aiohttp.ClientSession, query: str
    ) -> None:
        async with otto.get(f"/ops/api/ecgs?{query}") as response:
            assert (await problem_of(response, 400))["detail"].startswith("The query does not fit: ")

    async def test_the_timeline_of_any_owners_ecg_is_told(
        self, otto: aiohttp.ClientSession, database: Database
    ) -> None:
        await fail(database, _OWNERS[3], "10", _REASONS[2])

        timeline = await get(otto, "ecgs/https:%2F%2Fissuer.example%2F%23dora/10/timeline")

        assert [moment["what"] for moment in timeline["moments"]] == ["submitted", "attempt", "failed"]
        async with otto.get("/ops/api/ecgs/ada/10/timeline") as response:
            await problem_of(response, 404)

    async def test_the_outbox_tells_how_many_events_wait_and_no_word_of_them(
        self, otto: aiohttp.ClientSession, database: Database
    ) -> None:
        await fail(database, "ada", "10", _REASONS[2])

        outbox = await get(otto, "outbox")

        assert outbox["unpublished_batches"] == 1
        assert [batch["events"] for batch in outbox["batches"]] == [1]


class TestReplay:
    @pytest.mark.usefixtures("processor")
    async def test_all_that_failed_for_a_reason_are_replayed_and_the_audit_says_so(
        self, olga: aiohttp.ClientSession, database: Database
    ) -> None:
        await fail_many(database)
        failures = await get(olga, "failures", reason=_REASONS[2])
        body = a_replay(12, reason=_REASONS[2], until=failures["as_of"])

        async with olga.post("/ops/api/replays", json=body) as response:
            first = await response.json()
        async with olga.post("/ops/api/replays", json=body) as response:
            again = await response.json()

        async def completed() -> bool:
            return not (await get(olga, "overview"))["backlog"]["queued_ecgs"]

        await until(completed)
        [record] = (await get(olga, "audit"))["records"]
        assert first == {"replayed": 12}
        assert again == {"replayed": 0}
        assert (record["who"], record["why"], record["what"]) == ("olga", _WHY, "replay")
        assert record["subject"]["ecgs"] == 12
        assert record["subject"]["selection"]["reason"] == _REASONS[2]
        assert [group["ecgs"] for group in (await get(olga, "failures"))["groups"]] == [8, 8]

    async def test_what_another_operator_replays_at_once_is_replayed_once(
        self, gateway: str, olga: aiohttp.ClientSession, database: Database
    ) -> None:
        await fail_many(database)
        async with open_client(gateway, "both") as other:
            responses = await asyncio.gather(
                *(
                    client.post("/ops/api/replays", json=a_replay(28, status="failed"))
                    for client in (olga, other)
                )
            )

        replayed = [(await response.json())["replayed"] for response in responses]
        assert sum(replayed) == 28
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM ecg WHERE generation = 2") == 28

    async def test_more_than_was_confirmed_is_a_conflict_unless_it_came_later(
        self, olga: aiohttp.ClientSession, database: Database
    ) -> None:
        await fail(database, "ada", "1", _WHY)
        as_of = (await get(olga, "failures"))["as_of"]
        await fail(database, "ada", "2", _WHY)

        conflict = await status_of(olga, "POST", "replays", a_replay(1, status="failed"))
        async with olga.post("/ops/api/replays", json=a_replay(1, status="failed", until=as_of)) as response:
            replayed = await response.json()

        assert conflict == 409
        assert replayed == {"replayed": 1}
        [left] = (await get(olga, "ecgs", status="failed"))["ecgs"]
        assert left["id"] == "2"

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            (a_replay(1), "/filter"),
            (a_replay(1, since="today"), "/filter/since"),
            (a_replay(-1, status="failed"), "/expected"),
            (a_replay(1, status="failed") | {"reason": "  "}, "/reason"),
            ({"filter": {"status": "failed"}, "expected": 1}, "/reason"),
        ],
    )
    async def test_a_replay_needs_a_condition_a_number_and_a_reason(
        self, olga: aiohttp.ClientSession, body: dict[str, Any], pointer: str
    ) -> None:
        async with olga.post("/ops/api/replays", json=body) as response:
            assert pointer in [error["pointer"] for error in (await problem_of(response, 422))["errors"]]


class TestActing:
    async def test_the_intake_is_paused_and_goes_on_each_with_its_reason(
        self, olga: aiohttp.ClientSession
    ) -> None:
        states = []
        for state in ("paused", "paused", "running"):
            async with olga.put("/ops/api/intake", json={"state": state, "reason": _WHY}) as response:
                states.append(await response.json())

        first, second, third = states
        assert (first["state"], first["who"], first["why"]) == ("paused", "olga", _WHY)
        assert second["since"] == first["since"]
        assert third["state"] == "running"
        assert (await get(olga, "overview"))["intake"] == third
        assert [record["what"] for record in (await get(olga, "audit"))["records"]] == [
            "resume",
            "pause",
            "pause",
        ]
        assert len((await get(olga, "audit", limit="2"))["records"]) == 2
        number = (await get(olga, "audit", limit="2"))["next_cursor"]
        assert len((await get(olga, "audit", cursor=number))["records"]) == 1

    async def test_dead_letters_are_listed_replayed_and_dropped(
        self, olga: aiohttp.ClientSession, broker: InProcessBroker
    ) -> None:
        async with broker.consumer(QUEUE, prefetch=3) as consumer:
            for body in (b"one", b"other"):
                broker.route(Event(uuid4(), EventType.SUBMITTED, body))
                [delivery] = await consumer.receive(1)
                await delivery.dead_letter()
        first, second = (await get(olga, "dead-letters"))["dead_letters"]

        unknown = await status_of(olga, "POST", "dead-letters/drop", letters("0123456789ab"))
        replayed = await status_of(olga, "POST", "dead-letters/replay", letters(first["name"]))
        dropped = await status_of(olga, "POST", "dead-letters/drop", letters(second["name"]))

        assert (first["reason"], first["bytes"]) == ("rejected", 3)
        assert (unknown, replayed, dropped) == (404, 200, 200)
        assert broker.waiting(QUEUE) == [b"one"]
        assert (await get(olga, "overview"))["dead_letters"]["waiting"] == 0
        assert [record["what"] for record in (await get(olga, "audit"))["records"]] == [
            "dlq drop",
            "dlq replay",
        ]


async def test_an_operator_hears_why_something_is_unavailable(
    olga: aiohttp.ClientSession, database: Database
) -> None:
    async with database.connection() as connection:
        await connection.execute("ALTER TABLE operation RENAME TO away")

    async with olga.get("/ops/api/audit") as response:
        problem = await response.json()

    assert response.status == 503
    assert problem["detail"].startswith("PostgreSQL: ")
    assert "42P01" in problem["detail"]


def letters(*names: str) -> dict[str, Any]:
    return {"names": names, "reason": _WHY}


class TestStream:
    @pytest.fixture(autouse=True)
    def _fast(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(overview_feed, "_EVERY_S", 0.05)

    async def test_overviews_come_until_the_token_ends(
        self, database: Database, nobody: aiohttp.ClientSession
    ) -> None:
        accounts = PostgresAccountStore(database)
        await accounts.add(Account("olga", "hash", frozenset({Role.OPERATOR})))
        token = TOKENS.issue("olga", [Role.OPERATOR], now=datetime.now(UTC))
        headers = {"Authorization": f"Bearer {token}"}

        async with asyncio.timeout(30), nobody.get("/ops/api/stream", headers=headers) as response:
            events = read_events(response)
            name, document = await anext(events)
            await accounts.set_roles("olga", [Role.USER])
            rest = [each async for each in events]

        assert response.content_type == "text/event-stream"
        assert name == "overview"
        assert document["intake"]["state"] == "running"
        assert {name for name, _ in rest[:-1]} <= {"overview"}
        assert rest[-1][0] == "end"

    async def test_a_token_that_expires_ends_it(self, nobody: aiohttp.ClientSession) -> None:
        issued_at = datetime.now(UTC) - timedelta(seconds=TOKENS.lifetime_s + 8)
        token = TOKENS.issue("olga", [Role.OPERATOR], now=issued_at)
        headers = {"Authorization": f"Bearer {token}"}

        async with asyncio.timeout(30), nobody.get("/ops/api/stream", headers=headers) as response:
            names = [name async for name, _ in read_events(response)]

        assert names[-1] == "end"

    async def test_a_viewer_who_goes_away_is_watched_for_no_longer(
        self, gateway: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        feeds: list[overview_feed.OverviewFeed] = []
        events = overview_feed.OverviewFeed.events

        def noted(feed: overview_feed.OverviewFeed) -> Any:
            feeds.append(feed)
            return events(feed)

        monkeypatch.setattr(overview_feed.OverviewFeed, "events", noted)
        async with open_client(gateway, "otto") as client:
            async with asyncio.timeout(30), client.get("/ops/api/stream") as response:
                await anext(read_events(response))
            [feed] = feeds

        await until(lambda: feed._viewers == 0)

    async def test_a_viewer_who_reads_nothing_is_given_no_more_events(
        self, database: Database, broker: InProcessBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def large(*_: object) -> dict[str, object]:
            return {"padding": "x" * 8_000_000}  # more than the kernel's buffers hold

        taken: list[int] = []
        events = overview_feed.OverviewFeed.events

        async def counted(feed: overview_feed.OverviewFeed) -> AsyncGenerator[bytes, None]:
            viewer = len(taken)
            taken.append(0)
            async with aclosing(events(feed)) as each:
                async for event in each:
                    taken[viewer] += 1
                    yield event

        monkeypatch.setattr(overview_feed.OverviewFeed, "events", counted)
        monkeypatch.setattr(feature, "overview_document", large)
        token = TOKENS.issue("otto", [Role.OBSERVER], now=datetime.now(UTC))
        request = f"GET /ops/api/stream HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
        async with (
            asyncio.timeout(60),
            open_test_gateway(database, broker.publisher()) as address,
            open_raw(address) as (reader, writer),
            open_client(address, "otto") as client,
        ):
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(request.encode())
            await until(lambda: taken == [1])
            async with client.get("/ops/api/stream") as response:
                while taken[1] < 6:
                    assert await response.content.read(1_000_000)
            writer.transport.abort()

        assert taken[0] <= 2

    async def test_streams_end_when_the_gateway_drains(
        self, database: Database, broker: InProcessBroker
    ) -> None:
        async with AsyncExitStack() as opened:
            gateway = AsyncExitStack()
            address = await gateway.enter_async_context(open_test_gateway(database, broker.publisher()))
            client = await opened.enter_async_context(open_client(address, "otto"))
            response = await opened.enter_async_context(client.get("/ops/api/stream"))
            events = read_events(response)
            async with asyncio.timeout(10):  # less than the 20 s that open requests are waited for
                await anext(events)
                await gateway.aclose()
                async for _ in events:
                    pass


async def read_events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """The events of a stream, until it ends."""
    name = ""
    async for line in response.content:
        text = line.decode().rstrip("\n")
        if text.startswith("event: "):
            name = text.removeprefix("event: ")
        elif text.startswith("data: "):
            yield name, json.loads(text.removeprefix("data: "))
