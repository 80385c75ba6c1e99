from __future__ import annotations

import asyncio
import gzip
import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

import gateway.ecgs.result_cache
from processor.deliveries.settle import Dependencies, settle_deliveries
from processor.insights import INSIGHTS
from shared.events import EcgKey, EventType, submitted_event
from shared.ports.ecgs import Status
from shared.ports.outbox import REPUBLISH_BACKOFF
from shared.storage.postgres import owned_ecgs as postgres_owned_ecgs
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.event_source import PostgresEventSource
from shared.storage.postgres.outbox import PostgresOutbox
from tests.http.conftest import QUEUE, exchange, open_client, open_test_gateway, problem_of
from tests.support.builders import SOURCE, AnEventSource, an_ecg_body
from tests.support.polling import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from shared.broker.in_process import InProcessBroker
    from shared.storage.pool.database import Database


async def submit(client: aiohttp.ClientSession, *ids: str, **fields: Any) -> None:
    for ecg_id in ids:
        async with client.post("/ecg/process", json=an_ecg_body(id=ecg_id, **fields)) as response:
            assert response.status == 202, await response.text()


async def finished(client: aiohttp.ClientSession, ecg_id: str = "10") -> aiohttp.ClientResponse:
    """The finished result of an ECG."""
    plain = {"Accept-Encoding": "identity"}
    async with client.get(f"/ecg/{ecg_id}", params={"wait": "10"}, headers=plain) as response:
        assert (await response.json())["status"] == "completed"
        return response


async def status_of(client: aiohttp.ClientSession, ecg_id: str = "10", **headers: str) -> int:
    async with client.get(f"/ecg/{ecg_id}", headers=headers) as response:
        await response.read()
        return response.status


async def page(client: aiohttp.ClientSession, **query: str) -> dict[str, Any]:
    async with client.get("/ecg", params=query) as response:
        found: dict[str, Any] = await response.json()
        assert response.status == 200, found
        return found


def ids_of(page: dict[str, Any]) -> list[str]:
    return [ecg["id"] for ecg in page["ecgs"]]


class TestListing:
    async def test_the_list_is_empty_at_first(self, ada: aiohttp.ClientSession) -> None:
        assert await page(ada) == {"ecgs": []}

    async def test_the_newest_comes_first(self, ada: aiohttp.ClientSession) -> None:
        await submit(ada, "b", "a", "c")

        found = await page(ada)

        assert ids_of(found) == ["c", "a", "b"]
        assert {ecg["status"] for ecg in found["ecgs"]} == {"queued"}
        assert found["ecgs"][0]["submitted_at"] > found["ecgs"][1]["submitted_at"]
        assert "next_cursor" not in found

    async def test_another_owners_ecgs_are_not_listed(
        self, ada: aiohttp.ClientSession, bob: aiohttp.ClientSession
    ) -> None:
        await submit(ada, "adas")
        await submit(bob, "bobs")

        assert ids_of(await page(bob)) == ["bobs"]

    async def test_pages_list_each_ecg_once_despite_changes_meanwhile(
        self, ada: aiohttp.ClientSession
    ) -> None:
        await submit(ada, *map(str, range(7)))
        first = await page(ada, limit="3")
        await submit(ada, "new")
        await ada.delete("/ecg/4")  # the place where the first page ended

        second = await page(ada, limit="3", cursor=first["next_cursor"])
        third = await page(ada, limit="3", cursor=second["next_cursor"])

        assert [ids_of(first), ids_of(second), ids_of(third)] == [["6", "5", "4"], ["3", "2", "1"], ["0"]]
        assert "next_cursor" not in third

    async def test_ecgs_of_one_instant_are_all_listed(
        self, ada: aiohttp.ClientSession, database: Database
    ) -> None:
        await submit(ada, *"abcde")
        async with database.connection() as connection:
            await connection.execute("UPDATE ecg SET submitted_at = now()")

        first = await page(ada, limit="3")
        second = await page(ada, limit="3", cursor=first["next_cursor"])

        assert ids_of(first) + ids_of(second) == ["e", "d", "c", "b", "a"]

    @pytest.mark.usefixtures("processor")
    async def test_a_status_narrows_the_list(self, ada: aiohttp.ClientSession, database: Database) -> None:
        await submit(ada, "done")
        await finished(ada, "done")
        await submit(ada, "failed")
        await finished(ada, "failed")
        async with database.connection() as connection:
            await connection.execute(  # the next generation, which the database lets fail
                "UPDATE ecg SET generation = 2, status = 'queued', finished_at = NULL,"
                " due_at = now() + interval '1 hour' WHERE id = 'failed'"
            )
            await connection.execute(
                "UPDATE ecg SET status = 'failed', error = 'why', finished_at = now(), due_at = NULL"
                " WHERE id = 'failed'"
            )

        assert ids_of(await page(ada, status="completed")) == ["done"]
        assert ids_of(await page(ada, status="failed")) == ["failed"]
        assert ids_of(await page(ada, status="queued")) == []

    @pytest.mark.parametrize(
        ("query", "detail"),
        [
            ("limit=0", "limit: expected a number greater than or equal to 1"),
            ("limit=101", "limit: expected a number less than or equal to 100"),
            ("limit=ten", "limit: expected an integer"),
            ("limit=1&limit=2", "limit: expected it once"),
            ("status=done", "status: expected 'queued', 'completed' or 'failed'"),
            ("status=", "status: expected 'queued', 'completed' or 'failed'"),
            ("cursor=x", "cursor: expected the next_cursor of an earlier page"),
            ("cursor=", "cursor: expected the next_cursor of an earlier page"),
            ("cursor=WzFlOTksIjEwIl0", "cursor: expected the next_cursor of an earlier page"),
            ("cursor=WzEsIlx1MDAwMCJd", "cursor: expected the next_cursor of an earlier page"),
            ("cursor=" + "W" * 300, "cursor: expected at most 256 characters"),
            ("owner=bob", "owner: this field is not known here"),
        ],
    )
    async def test_an_invalid_query_is_a_400_with_the_reason(
        self, ada: aiohttp.ClientSession, query: str, detail: str
    ) -> None:
        async with ada.get(f"/ecg?{query}") as response:
            problem = await problem_of(response, 400)

        assert problem["detail"] == f"The query does not fit: {detail}."

    @pytest.mark.parametrize("status", list(Status))
    async def test_a_page_is_read_from_an_index(self, database: Database, status: Status) -> None:
        async with database.connection() as connection:
            await connection.execute("""
                INSERT INTO ecg (owner, id, content_hash, num_samples, status, finished_at, due_at, error)
                SELECT 'ada', n::text, 'hash', 0, s, CASE WHEN s <> 'queued' THEN now() END,
                    CASE WHEN s = 'queued' THEN now() END, CASE WHEN s = 'failed' THEN 'why' END
                FROM generate_series(1, 20000) AS n,
                    LATERAL (SELECT CASE n % 1000 WHEN 0 THEN 'queued' WHEN 1 THEN 'failed'
                             ELSE 'completed' END) AS of (s)
            """)
            await connection.execute("ANALYZE ecg")
            plan = await connection.fetch(f"EXPLAIN {statement_of(status)}")

        assert "Seq Scan" not in str(plan)


def statement_of(status: Status) -> str:
    """The statement behind a page, with its parameters filled in."""
    statement = postgres_owned_ecgs._PAGE_OF[status]
    for name, value in {"$1": "'ada'", "$2": "now()", "$3": "''", "$4": "20"}.items():
        statement = statement.replace(name, value)
    return statement


class TestErasing:
    @pytest.mark.usefixtures("processor")
    async def test_a_finished_ecg_is_gone_with_its_signals_and_insights(
        self, ada: aiohttp.ClientSession, database: Database
    ) -> None:
        await submit(ada, "10")
        await finished(ada)

        async with ada.delete("/ecg/10") as response:
            assert response.status == 204
            assert await response.read() == b""

        assert await status_of(ada) == 404
        assert ids_of(await page(ada)) == []
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM ecg_signal") == 0
            assert await connection.fetchval("SELECT count(*) FROM ecg_insights") == 0
            left = await connection.fetchrow("SELECT * FROM ecg")
        assert left
        assert (left["content_hash"], left["num_samples"], left["error"]) == (b"", 0, None)

    async def test_an_erased_foreign_or_unknown_ecg_is_a_404(
        self, ada: aiohttp.ClientSession, bob: aiohttp.ClientSession
    ) -> None:
        await submit(ada, "10")
        async with bob.delete("/ecg/10") as others:
            await problem_of(others, 404)
        await ada.delete("/ecg/10")

        async with ada.delete("/ecg/10") as again:
            await problem_of(again, 404)
        async with ada.delete("/ecg/a%20b") as impossible:
            await problem_of(impossible, 404)

    async def test_an_erasure_is_announced(
        self, ada: aiohttp.ClientSession, broker: InProcessBroker, database: Database
    ) -> None:
        broker.bind("sub.archive", EventType.DELETED)
        await submit(ada, "10")

        await ada.delete("/ecg/10")

        [message] = broker.waiting("sub.archive")
        event = json.loads(message)
        assert event["type"] == "ecg.deleted"
        assert event["source"] == await PostgresEventSource(database).uri()
        assert event["data"] == {"owner": "ada", "id": "10", "generation": 1}
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM outbox") == 0

    async def test_an_erasure_that_can_not_be_published_stays_in_the_outbox(
        self, ada: aiohttp.ClientSession, database: Database
    ) -> None:
        await submit(ada, "10")

        await ada.delete("/ecg/10")  # no queue is bound to the event

        async with database.connection() as connection:
            assert await connection.fetchval("SELECT types FROM outbox") == ["ecg.deleted"]

    async def test_a_processor_that_is_analysing_it_stores_nothing(
        self, ada: aiohttp.ClientSession, database: Database, broker: InProcessBroker
    ) -> None:
        await submit(ada, "10")
        store, outbox = PostgresEcgStore(database), PostgresOutbox(database)
        deps = Dependencies(
            store=ErasingStore(database, ada),
            outbox=outbox,
            publisher=broker.publisher(),
            event_source=AnEventSource(),
            insights=INSIGHTS,
            max_attempts=5,
            batch_samples=1000,
        )
        async with broker.consumer(QUEUE, prefetch=1) as consumer:
            await settle_deliveries(await consumer.receive(1), deps=deps)

        assert await store.find([("ada", "10")]) == {}
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM ecg_insights") == 0
            assert await connection.fetchval("SELECT array_agg(types) FROM outbox") == [["ecg.deleted"]]

    @pytest.mark.parametrize(
        ("content", "refusal"),
        [(None, "ecg_erased_is_empty"), (b"x", "may not go from erased")],
    )
    async def test_only_a_submission_restores_the_row(
        self, ada: aiohttp.ClientSession, database: Database, content: bytes | None, refusal: str
    ) -> None:
        await submit(ada, "10")
        await ada.delete("/ecg/10")

        async with database.connection() as connection:
            with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=refusal):
                await connection.execute(
                    "UPDATE ecg SET status = 'queued', due_at = now(), finished_at = NULL,"
                    " content_hash = coalesce($1, content_hash)",
                    content,
                )

    async def test_the_relay_does_not_announce_it_again(
        self, ada: aiohttp.ClientSession, database: Database
    ) -> None:
        await submit(ada, "10")
        await ada.delete("/ecg/10")
        outbox = PostgresOutbox(database)
        await outbox.make_all_due()

        assert await outbox.take_due_ecgs(10, REPUBLISH_BACKOFF) == []

    @pytest.mark.usefixtures("processor")
    async def test_a_redelivery_does_not_restore_it(
        self, ada: aiohttp.ClientSession, broker: InProcessBroker
    ) -> None:
        await submit(ada, "10")
        await finished(ada)
        await ada.delete("/ecg/10")

        await broker.publisher().publish([an_announcement("10", generation=1)])
        await until_idle(broker)

        assert await status_of(ada) == 404

    async def test_its_id_may_be_submitted_again_and_begins_the_next_generation(
        self, ada: aiohttp.ClientSession, database: Database
    ) -> None:
        await submit(ada, "10")
        await ada.delete("/ecg/10")

        await submit(ada, "10", date="2024-01-01")
        await submit(ada, "10", date="2024-01-01")  # the same again is the same
        async with ada.post("/ecg/process", json=an_ecg_body(id="10")) as other:
            await problem_of(other, 409)

        async with database.connection() as connection:
            rows = await connection.fetch("SELECT generation, status, attempts FROM ecg")
        assert [tuple(row) for row in rows] == [(2, "queued", 0)]

    @pytest.fixture
    async def there(
        self,
        ada: aiohttp.ClientSession,
        database: Database,
        broker: InProcessBroker,
        processor: None,  # noqa: ARG002 - it finishes the ECG
        monkeypatch: pytest.MonkeyPatch,
    ) -> AsyncIterator[aiohttp.ClientSession]:
        """A client of another gateway, where an ECG was erased whose result Ada's gateway has cached."""
        monkeypatch.setattr(gateway.ecgs.result_cache, "MAX_AGE_S", 1.0)
        await submit(ada, "10")
        async with (
            open_test_gateway(database, broker.publisher()) as other,
            open_client(other, "ada") as client,
        ):
            await finished(ada)
            await client.delete("/ecg/10")
            yield client

    @pytest.mark.parametrize("is_taken_there", [True, False])
    async def test_no_gateway_takes_it_for_its_successor_once_that_is_accepted(
        self, ada: aiohttp.ClientSession, there: aiohttp.ClientSession, *, is_taken_there: bool
    ) -> None:
        await submit(there if is_taken_there else ada, "10", date="2024-01-01")

        async with ada.get("/ecg/10?wait=10") as found:
            assert (await found.json())["date"] == "2024-01-01"

    async def test_nor_once_it_was_sent_again_before_it_was_accepted(
        self, ada: aiohttp.ClientSession, there: aiohttp.ClientSession
    ) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(submit(there, "10", date="2024-01-01"), 0.5)

        await submit(there, "10", date="2024-01-01")

        async with ada.get("/ecg/10?wait=10") as found:
            assert (await found.json())["date"] == "2024-01-01"

    @pytest.mark.usefixtures("processor")
    async def test_a_redelivery_of_the_erased_does_not_change_its_successor(
        self, ada: aiohttp.ClientSession, broker: InProcessBroker
    ) -> None:
        broker.bind("sub.results", EventType.PROCESSED)
        await submit(ada, "10")
        await finished(ada)
        await ada.delete("/ecg/10")
        await submit(ada, "10", leads=[{"name": "V1", "signal": [1, 1]}])
        await finished(ada)

        await broker.publisher().publish([an_announcement("10", generation=1)])
        await until_idle(broker)

        events = [json.loads(message) for message in broker.waiting("sub.results")]
        assert [event["data"]["generation"] for event in events] == [1, 2]
        assert events[0]["id"] != events[1]["id"]

    async def test_of_concurrent_erasures_of_one_ecg_exactly_one_succeeds(
        self, ada: aiohttp.ClientSession
    ) -> None:
        await submit(ada, "10")

        responses = await asyncio.gather(*(ada.delete("/ecg/10") for _ in range(10)))

        assert sorted(response.status for response in responses) == [204, *[404] * 9]

    async def test_submissions_that_race_with_erasures_never_reuse_a_generation(
        self, ada: aiohttp.ClientSession, broker: InProcessBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gateway.ecgs.result_cache, "MAX_AGE_S", 0.0)  # no submission waits for it
        broker.bind("sub.archive", EventType.DELETED)

        async def submit_and_erase() -> None:
            for _ in range(20):
                await submit(ada, "10")
                await ada.delete("/ecg/10")

        await asyncio.gather(*(submit_and_erase() for _ in range(5)))

        generations = [json.loads(event)["data"]["generation"] for event in broker.waiting("sub.archive")]
        assert len(generations) >= 20
        assert len(set(generations)) == len(generations)


class ErasingStore(PostgresEcgStore):
    """Its ECG is erased between being loaded and being settled."""

    def __init__(self, database: Database, owner: aiohttp.ClientSession) -> None:
        super().__init__(database)
        self._owner = owner

    async def claim(self, keys: Any, **options: Any) -> Any:
        claims = await super().claim(keys, **options)
        assert claims.loaded
        async with self._owner.delete("/ecg/10") as response:
            assert response.status == 204
        return claims


def an_announcement(ecg_id: str, *, generation: int) -> Any:
    return submitted_event([EcgKey("ada", ecg_id, generation)], source=SOURCE, now=datetime.now(UTC))


async def until_idle(broker: InProcessBroker) -> None:
    await until(lambda: not broker.waiting(QUEUE))
    await asyncio.sleep(0.1)


@pytest.mark.usefixtures("processor")
class TestEntityTags:
    async def test_a_matching_if_none_match_is_a_304(self, ada: aiohttp.ClientSession) -> None:
        await submit(ada, "10")
        tag = (await finished(ada)).headers["ETag"]

        async with ada.get("/ecg/10", headers={"If-None-Match": tag}) as response:
            assert (response.status, await response.read()) == (304, b"")
            assert response.headers["ETag"] == tag
            assert response.headers["Cache-Control"] == "private, no-cache"

        assert not tag.startswith("W/")
        assert await status_of(ada, **{"If-None-Match": f'"other", W/{tag}'}) == 304
        assert await status_of(ada, **{"If-None-Match": "*"}) == 304
        assert await status_of(ada, **{"If-None-Match": '"other"'}) == 200
        assert await status_of(ada, **{"If-None-Match": "garbage"}) == 200

    async def test_another_result_has_another_etag(self, ada: aiohttp.ClientSession) -> None:
        await submit(ada, "10", "11")

        tags = {(await finished(ada, ecg_id)).headers["ETag"] for ecg_id in ("10", "11")}

        assert len(tags) == 2

    async def test_an_etag_does_not_hide_an_erasure(self, ada: aiohttp.ClientSession) -> None:
        await submit(ada, "10")
        tag = (await finished(ada)).headers["ETag"]
        await ada.delete("/ecg/10")

        assert await status_of(ada, **{"If-None-Match": tag}) == 404


async def test_a_queued_ecg_has_no_etag(ada: aiohttp.ClientSession) -> None:
    await submit(ada, "10")

    async with ada.get("/ecg/10") as response:
        assert "ETag" not in response.headers
    assert await status_of(ada, **{"If-None-Match": "*"}) == 200


@pytest.mark.usefixtures("processor")
class TestHeads:
    """A result has the same headers for every method and version of HTTP."""

    @pytest.mark.parametrize(
        ("request_line", "status_line", "is_kept_open", "has_body"),
        [
            ("GET /ecg/10 HTTP/1.1", b"HTTP/1.1 200 OK", True, True),
            ("GET /ecg/10 HTTP/1.1\r\nConnection: close", b"HTTP/1.1 200 OK", False, True),
            ("GET /ecg/10 HTTP/1.1\r\nIf-None-Match: other", b"HTTP/1.1 200 OK", True, True),
            ("GET /ecg/10 HTTP/1.0", b"HTTP/1.0 200 OK", False, True),
            ("HEAD /ecg/10 HTTP/1.1", b"HTTP/1.1 200 OK", True, False),
        ],
    )
    async def test_a_result_has_one_head(
        self,
        gateway: str,
        ada: aiohttp.ClientSession,
        request_line: str,
        status_line: bytes,
        *,
        is_kept_open: bool,
        has_body: bool,
    ) -> None:
        await submit(ada, "10")
        await finished(ada)
        async with ada.get("/ecg/10") as response:
            result = await response.read()
        common = f"Host: x\r\nAuthorization: {ada.headers['Authorization']}\r\n"
        last = "GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

        responses = await exchange(
            gateway, f"{request_line}\r\n{common}\r\n{last if is_kept_open else ''}".encode()
        )

        head, _, rest = responses.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        names = {line.split(b":")[0].lower() for line in lines}
        assert first == status_line
        assert names - {b"connection"} == {
            *(b"content-type", b"cache-control", b"etag", b"vary", b"content-length", b"server", b"date"),
            *(b"x-request-id", b"ratelimit", b"ratelimit-policy"),
        }
        assert len(names) == len(lines)
        assert f"Content-Length: {len(result)}".encode() in lines
        assert (b"Connection: close" in lines) == (not is_kept_open and status_line.startswith(b"HTTP/1.1"))
        assert rest.startswith(result) == has_body
        assert (b"HTTP/1.1 200 OK" in rest) == is_kept_open

    @pytest.mark.parametrize("pause_s", [None, 0, 0.02])
    async def test_pipelined_responses_are_in_order(
        self, gateway: str, ada: aiohttp.ClientSession, pause_s: float | None
    ) -> None:
        """For pipelined requests sent at once or one by one, and for each kind of response."""
        await submit(ada, "10")
        await finished(ada)
        common = f"HTTP/1.1\r\nHost: x\r\nAuthorization: {ada.headers['Authorization']}\r\n"
        paths = ["/ecg/10", "/ecg/none", "/ecg/10", "/ecg/10", "/docs/none", "/ecg/10"]
        requests = [f"GET {path} {common}\r\n".encode() for path in paths]
        requests.append(f"GET /ecg/10 {common}Connection: close\r\n\r\n".encode())

        if pause_s is None:
            responses = await exchange(gateway, b"".join(requests))
        else:
            responses = await exchange(gateway, *requests, pause_s=pause_s)

        statuses = re.findall(rb"HTTP/1.1 (\d+) ", responses)
        assert statuses == [b"200", b"404", b"200", b"200", b"404", b"200", b"200"]


@pytest.mark.usefixtures("processor")
class TestCompression:
    @pytest.mark.parametrize(
        ("accepted", "is_compressed"),
        [
            ("gzip", True),
            ("deflate, GZIP;q=0.5", True),
            ("*", True),
            ("x-gzip", True),
            ("X-GZIP;q=0.5, *;q=0", True),
            ("x-gzip;q=0", False),
            ("*, x-gzip;q=0", False),
            ("gzip;q=0", False),
            ("*, gzip;q=0", False),
            ("identity", False),
            ("gzip;q=x", False),
            ("", False),
        ],
    )
    async def test_a_large_response_is_gzipped_if_accepted(
        self, ada: aiohttp.ClientSession, accepted: str, *, is_compressed: bool
    ) -> None:
        leads = [{"name": f"lead {n}", "signal": [1, -1]} for n in range(32)]
        await submit(ada, "10", leads=leads)
        plain = await finished(ada)

        async with ada.get("/ecg/10", headers={"Accept-Encoding": accepted}) as response:
            body = await response.read()

        assert response.headers["Vary"] == "Accept-Encoding"
        assert (response.headers.get("Content-Encoding") == "gzip") == is_compressed
        found = json.loads(gzip.decompress(body) if is_compressed else body)
        assert len(found["leads"]) == 32
        assert (response.headers["ETag"] != plain.headers["ETag"]) == is_compressed
        has_it = {"If-None-Match": response.headers["ETag"]}
        assert await status_of(ada, **has_it, **{"Accept-Encoding": accepted}) == 304
        other = "identity" if is_compressed else "gzip"
        assert await status_of(ada, **has_it, **{"Accept-Encoding": other}) == 200

    async def test_a_small_response_is_not_gzipped(self, ada: aiohttp.ClientSession) -> None:
        await submit(ada, "10")
        await finished(ada)

        async with ada.get("/ecg/10", headers={"Accept-Encoding": "gzip"}) as response:
            assert "Content-Encoding" not in response.headers


@pytest.mark.usefixtures("processor")
class TestResultCache:
    @pytest.fixture
    def short_age(self, monkeypatch: pytest.MonkeyPatch) -> float:
        monkeypatch.setattr(gateway.ecgs.result_cache, "MAX_AGE_S", 0.3)
        return 0.3

    async def test_a_finished_result_is_served_from_the_cache(
        self, ada: aiohttp.ClientSession, database: Database, short_age: float
    ) -> None:
        await submit(ada, "10")
        await finished(ada)
        await status_of(ada)
        async with database.connection() as connection:
            await connection.execute(
                "UPDATE ecg SET status = 'erased', content_hash = ''"
            )  # as another gateway would

        kept = await status_of(ada)
        await asyncio.sleep(short_age)

        assert (kept, await status_of(ada)) == (200, 404)

    async def test_an_erasure_invalidates_the_cache_at_once(self, ada: aiohttp.ClientSession) -> None:
        await submit(ada, "10")
        await finished(ada)
        await status_of(ada)
        await ada.delete("/ecg/10")

        assert await status_of(ada) == 404
        await submit(ada, "10", leads=[{"name": "V9", "signal": [0]}])
        async with ada.get("/ecg/10", params={"wait": "10"}) as response:
            assert (await response.json())["leads"] == [{"V9": {"zero_crossings": 0}}]

    async def test_an_erasure_through_another_gateway_is_seen_in_time(
        self, ada: aiohttp.ClientSession, database: Database, broker: InProcessBroker, short_age: float
    ) -> None:
        async with (
            open_test_gateway(database, broker.publisher()) as other,
            open_client(other, "ada") as there,
        ):
            await submit(ada, "10")
            await finished(ada)
            await status_of(ada)
            await there.delete("/ecg/10")
            await asyncio.sleep(short_age)

            assert await status_of(ada) == 404
