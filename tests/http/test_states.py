from __future__ import annotations

import asyncio
import json
import socket
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from yarl import URL

from gateway.__main__ import health_parts_of_database
from shared.domain.errors import UnavailableError
from shared.events import EventType, read_submitted
from shared.operations import replay
from shared.ports.operations import Reason, Selection
from shared.runtime import health
from shared.runtime.health import HealthPart, health_part_of_process
from shared.runtime.settings import GatewayOnlySettings
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.postgres.checks import check_submissions
from shared.storage.postgres.database import open_database
from shared.storage.postgres.operations import PostgresOperations
from tests.http.conftest import (
    QUEUE,
    health_part_of_schema,
    open_client,
    open_test_gateway,
    open_test_processor,
    problem_of,
)
from tests.support.builders import an_ecg_body
from tests.support.databases import open_empty_database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import aiohttp

    from shared.broker.in_process import InProcessBroker
    from shared.domain.errors import UnroutableError
    from shared.events import Event
    from shared.ports.accounts import AccountChanges
    from shared.storage.postgres.database import Database

_LIMIT_S = 10
_ALTER = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I {}', current_database()); END $$"
_END_OTHERS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_NO_ECG = "You have no ECG of this id."


class SlowPublisher:
    """A broker that never confirms."""

    async def check(self) -> None:
        pass

    async def publish(self, events: Sequence[Event]) -> list[UnroutableError | UnavailableError | None]:
        await asyncio.Event().wait()
        return [None for _ in events]


class HiddenAccounts(PostgresAccountStore):
    """Accounts that the role may not read."""

    async def recent_changes(self) -> AccountChanges:
        raise UnavailableError("permission denied for table account", is_logged=True)


def another_body() -> dict[str, Any]:
    return an_ecg_body(leads=[{"name": "I", "signal": [1, -1, 2]}])


async def submitted(client: aiohttp.ClientSession, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    async with client.post("/ecg/process", json=body) as response:
        return response.status, await response.json(content_type=None)


async def found(client: aiohttp.ClientSession, path: str) -> dict[str, Any]:
    async with asyncio.timeout(_LIMIT_S), client.get(path) as response:
        assert response.status == 200
        document: dict[str, Any] = await response.json()
    return document


def traceparents(events: Sequence[bytes]) -> dict[str, str]:
    """The trace context of events, by what they are about."""
    documents = map(json.loads, events)
    return {document["subject"]: document["traceparent"] for document in documents}


def stands(state: dict[str, Any]) -> dict[str, Any]:
    """The status and result of an ECG, without its times and header."""
    others = {"date", "submitted_at", "completed_at", "generation"}
    return {name: value for name, value in state.items() if name not in others}


async def readiness(client: aiohttp.ClientSession, status: int) -> dict[str, Any]:
    """The readiness document once it has this status."""
    async with asyncio.timeout(_LIMIT_S):
        while True:
            async with client.get("/health/ready", headers={"Accept-Encoding": "identity"}) as response:
                if response.status == status:
                    document: dict[str, Any] = await response.json()
                    return document
            await asyncio.sleep(0.05)


async def degraded(client: aiohttp.ClientSession, *names: str) -> dict[str, Any]:
    """The parts once those of these names are degraded, which leaves the gateway ready."""
    async with asyncio.timeout(_LIMIT_S):
        while True:
            parts: dict[str, Any] = (await readiness(client, 200))["parts"]
            if all(parts[name]["state"] == "degraded" for name in names):
                return parts
            await asyncio.sleep(0.05)


class TestIds:
    async def test_an_id_may_be_an_integer_and_is_kept_as_its_digits(
        self, ada: aiohttp.ClientSession
    ) -> None:
        _, receipt = await submitted(ada, an_ecg_body(id=10))

        assert receipt["id"] == "10"
        assert (await found(ada, "/ecg/10"))["id"] == "10"

    @pytest.mark.parametrize("ecg_id", ["process", "a:b-c_d.e", "...", "x" * 128, -5])
    async def test_every_id_has_a_url(self, ada: aiohttp.ClientSession, ecg_id: str | int) -> None:
        async with ada.post("/ecg/process", json=an_ecg_body(id=ecg_id)) as response:
            location = response.headers["Location"]

        assert (await found(ada, location))["id"] == str(ecg_id)

    @pytest.mark.parametrize(
        "path", ["/ecg/none", "/ecg/a%2Fb", "/ecg/a%00", "/ecg/" + "x" * 129, "/ecg/%FF"]
    )
    async def test_an_unknown_id_is_a_404(self, ada: aiohttp.ClientSession, path: str) -> None:
        async with ada.get(URL(path, encoded=True)) as response:
            problem = await problem_of(response, 404)

        assert problem["detail"] == _NO_ECG

    async def test_another_owners_ecg_is_a_404(
        self, ada: aiohttp.ClientSession, bob: aiohttp.ClientSession
    ) -> None:
        await submitted(ada, an_ecg_body(id="10"))

        async with bob.get("/ecg/10") as response:
            anothers = await problem_of(response, 404)
        async with bob.get("/ecg/11") as response:
            nobodys = await problem_of(response, 404)

        assert anothers == nobodys

    async def test_waiting_for_another_owners_ecg_ends_at_once(
        self, ada: aiohttp.ClientSession, bob: aiohttp.ClientSession
    ) -> None:
        await submitted(ada, an_ecg_body(id="10"))

        async with asyncio.timeout(5), bob.get("/ecg/10?wait=30") as response:
            assert response.status == 404

    @pytest.mark.usefixtures("processor")
    async def test_two_owners_may_use_the_same_id(
        self, ada: aiohttp.ClientSession, bob: aiohttp.ClientSession
    ) -> None:
        of_ada = await submitted(ada, an_ecg_body())
        of_bob = await submitted(bob, another_body() | {"leads": [{"name": "V1", "signal": [1, 2]}]})

        assert of_ada == of_bob == (202, {"id": "10", "status": "queued"})
        assert (await found(ada, "/ecg/10?wait=10"))["leads"] == [{"I": {"zero_crossings": 2}}]
        assert (await found(bob, "/ecg/10?wait=10"))["leads"] == [{"V1": {"zero_crossings": 0}}]


class TestSubmittingAgain:
    async def test_the_same_content_is_stored_and_announced_once(
        self, ada: aiohttp.ClientSession, broker: InProcessBroker
    ) -> None:
        first = await submitted(ada, an_ecg_body())

        again = await submitted(ada, an_ecg_body())

        assert first == again == (202, {"id": "10", "status": "queued"})
        assert len(broker.waiting(QUEUE)) == 1

    @pytest.mark.usefixtures("processor")
    async def test_the_same_content_is_answered_with_its_present_status(
        self, ada: aiohttp.ClientSession
    ) -> None:
        await submitted(ada, an_ecg_body())
        await found(ada, "/ecg/10?wait=10")

        assert await submitted(ada, an_ecg_body()) == (202, {"id": "10", "status": "completed"})

    async def test_other_content_under_the_same_id_is_a_conflict_and_changes_nothing(
        self, ada: aiohttp.ClientSession
    ) -> None:
        await submitted(ada, an_ecg_body())

        async with ada.post("/ecg/process", json=another_body()) as response:
            problem = await problem_of(response, 409)

        assert problem["detail"] == "You have another ECG of this id already, with other content."
        assert await submitted(ada, an_ecg_body()) == (202, {"id": "10", "status": "queued"})

    @pytest.mark.parametrize(
        "fields",
        [
            {"date": "2023-07-31"},
            {"sampling_rate_hz": 500},
            {"unit": "uV"},
            {"leads": [{"name": "II", "signal": [1, -1, 1]}]},
            {"leads": [{"name": "I", "signal": [1, -1, 1], "baseline": 1}]},
            {"leads": [{"name": "I", "signal": [1, -1, 1], "adc_gain": 2}]},
            {"leads": [{"name": "I", "signal": [1, -1, 1], "missing_value": 1}]},
            {"leads": [{"name": "I", "signal": [1, -1, 1], "sampling_rate_hz": 62.5}]},
            {"leads": [{"name": "I", "signal": [1, -1]}, {"name": "II", "signal": [1]}]},
        ],
    )
    async def test_the_content_includes_every_field(
        self, ada: aiohttp.ClientSession, fields: dict[str, Any]
    ) -> None:
        await submitted(ada, an_ecg_body())

        status, _ = await submitted(ada, an_ecg_body(**fields))

        assert status == 409

    async def test_explicit_defaults_are_the_same_content(self, ada: aiohttp.ClientSession) -> None:
        lead = {"name": "I", "signal": [1, -1, 1], "num_samples": 3, "baseline": 0, "adc_gain": 1}
        await submitted(ada, an_ecg_body(id="10"))

        status, _ = await submitted(ada, an_ecg_body(id=10, leads=[lead]))

        assert status == 202

    async def test_concurrent_submissions_store_one(
        self, ada: aiohttp.ClientSession, broker: InProcessBroker
    ) -> None:
        responses = await asyncio.gather(*(submitted(ada, an_ecg_body()) for _ in range(8)))

        assert responses == [(202, {"id": "10", "status": "queued"})] * 8
        assert len(broker.waiting(QUEUE)) == 1


class TestWaiting:
    @pytest.mark.parametrize("wait", ["", "x", "-1", "31", "30.001", "1e9", "10s", "NaN", "٣"])
    async def test_an_invalid_wait_is_a_400(self, ada: aiohttp.ClientSession, wait: str) -> None:
        async with ada.get("/ecg/10", params={"wait": wait}) as response:
            problem = await problem_of(response, 400)

        assert problem["detail"].startswith("The query does not fit: wait: expected a number")

    async def test_a_queued_ecg_is_returned_after_the_wait(self, ada: aiohttp.ClientSession) -> None:
        await submitted(ada, an_ecg_body())
        started = asyncio.get_running_loop().time()

        state = await found(ada, "/ecg/10?wait=0.3")

        assert stands(state) == {"id": "10", "status": "queued"}
        assert asyncio.get_running_loop().time() - started >= 0.3

    async def test_without_wait_the_response_is_immediate(self, ada: aiohttp.ClientSession) -> None:
        await submitted(ada, an_ecg_body())

        async with asyncio.timeout(5):
            assert await found(ada, "/ecg/10?wait=0") == await found(ada, "/ecg/10")

    async def test_all_waiting_requests_are_answered_when_the_ecg_is_finished(
        self, ada: aiohttp.ClientSession, database: Database, broker: InProcessBroker
    ) -> None:
        await submitted(ada, an_ecg_body())
        waiting = [asyncio.create_task(found(ada, "/ecg/10?wait=20")) for _ in range(3)]
        await found(ada, "/ecg/10?wait=0.1")

        async with open_test_processor(database, broker):
            states = await asyncio.gather(*waiting)

        assert {state["status"] for state in states} == {"completed"}

    async def test_draining_ends_all_waits(self, database: Database, broker: InProcessBroker) -> None:
        async with AsyncExitStack() as opened:
            gateway = await opened.enter_async_context(open_test_gateway(database, broker.publisher()))
            async with open_client(gateway, "ada") as ada:
                await submitted(ada, an_ecg_body())
                waiting = asyncio.create_task(found(ada, "/ecg/10?wait=30"))
                await found(ada, "/ecg/10?wait=0.1")

                async with asyncio.timeout(5):
                    await opened.aclose()

                assert stands(await waiting) == {"id": "10", "status": "queued"}


class TestResults:
    @pytest.mark.usefixtures("processor")
    async def test_a_result_carries_the_version_of_each_insight(self, ada: aiohttp.ClientSession) -> None:
        await submitted(ada, an_ecg_body())

        assert stands(await found(ada, "/ecg/10?wait=10")) == {
            "id": "10",
            "status": "completed",
            "leads": [{"I": {"zero_crossings": 2}}],
            "insights": {"zero_crossings": 1},
        }

    @pytest.mark.usefixtures("processor")
    async def test_a_warning_stands_beside_its_count(self, ada: aiohttp.ClientSession) -> None:
        leads = [
            {"name": "raw", "signal": [1024, 1030, 1020]},
            {"name": "based", "signal": [1024, 1030, 1020], "baseline": 1024},
        ]
        await submitted(ada, an_ecg_body(leads=leads))

        assert (await found(ada, "/ecg/10?wait=10"))["leads"] == [
            {"raw": {"zero_crossings": 0, "warnings": ["signal_never_near_zero"]}},
            {"based": {"zero_crossings": 1}},
        ]

    @pytest.mark.usefixtures("processor")
    async def test_a_lead_of_many_chunks_is_counted(self, ada: aiohttp.ClientSession) -> None:
        await submitted(ada, an_ecg_body(leads=[{"name": "I", "signal": [1, -1] * 100_000}]))

        assert (await found(ada, "/ecg/10?wait=10"))["leads"] == [{"I": {"zero_crossings": 199_999}}]

    async def test_a_failed_ecg_says_why(self, ada: aiohttp.ClientSession, database: Database) -> None:
        await submitted(ada, an_ecg_body())
        async with database.connection() as connection:
            await connection.execute(
                "UPDATE ecg SET status = 'failed', error = 'why', due_at = NULL, finished_at = now()"
            )

        failed = await found(ada, "/ecg/10")

        assert stands(failed) == {"id": "10", "status": "failed", "error": "why"}

    @pytest.mark.usefixtures("processor")
    async def test_a_result_has_the_header_and_times_of_its_submission(
        self, ada: aiohttp.ClientSession
    ) -> None:
        await submitted(ada, an_ecg_body(sampling_rate_hz=500, unit="mV"))

        state = await found(ada, "/ecg/10?wait=10")

        assert (state["date"], state["sampling_rate_hz"], state["unit"]) == ("2023-07-30", 500, "mV")
        assert state["generation"] == 1
        assert datetime.fromisoformat(state["submitted_at"]) < datetime.fromisoformat(state["completed_at"])


class TestReanalysis:
    @pytest.fixture
    async def ada(self, database: Database, broker: InProcessBroker) -> AsyncIterator[aiohttp.ClientSession]:
        """Without the result cache, as at another gateway."""
        settings = GatewayOnlySettings(host="127.0.0.1", port=0, result_cache_bytes=0)
        async with (
            open_test_gateway(database, broker.publisher(), settings=settings) as gateway,
            open_client(gateway, "ada") as ada,
        ):
            yield ada

    async def test_the_last_result_is_returned_until_the_next_is_finished_which_wait_returns(
        self, ada: aiohttp.ClientSession, database: Database, broker: InProcessBroker
    ) -> None:
        await submitted(ada, an_ecg_body())
        async with open_test_processor(database, broker):
            first = await found(ada, "/ecg/10?wait=10")
        await replay(Selection(id="10"), Reason("ada", "why"), operations=PostgresOperations(database))

        meanwhile = await found(ada, "/ecg/10")
        in_vain = await found(ada, "/ecg/10?wait=0.1")
        waiting = asyncio.create_task(found(ada, "/ecg/10?wait=20"))
        async with open_test_processor(database, broker):
            second = await waiting

        assert meanwhile == first | {"reanalysis": "queued"}
        assert in_vain == meanwhile
        assert second == first | {"completed_at": second["completed_at"], "generation": 2}
        assert second["completed_at"] > first["completed_at"]

    async def test_an_ecg_being_re_analysed_can_be_erased(
        self, ada: aiohttp.ClientSession, database: Database, broker: InProcessBroker
    ) -> None:
        await submitted(ada, an_ecg_body())
        async with open_test_processor(database, broker):
            await found(ada, "/ecg/10?wait=10")
        await replay(Selection(id="10"), Reason("ada", "why"), operations=PostgresOperations(database))

        async with ada.delete("/ecg/10") as erased, ada.get("/ecg/10") as gone:
            assert (erased.status, gone.status) == (204, 404)
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM ecg_insights") == 0


class TestOutages:
    async def test_without_postgresql_a_request_is_a_503(self, broker: InProcessBroker) -> None:
        async with (
            open_database(f"postgresql://u:canary@127.0.0.1:{closed_port()}/isoline") as database,
            open_test_gateway(database, broker.publisher()) as gateway,
            open_client(gateway, "ada") as ada,
        ):
            for asked in (
                ada.post("/ecg/process", json=an_ecg_body()),
                ada.get("/ecg/10"),
                ada.get("/ecg/10?wait=10"),
                ada.post("/token", json={"user": "ada", "password": "x"}),
            ):
                async with asyncio.timeout(_LIMIT_S), asked as response:
                    problem = await problem_of(response, 503)

                assert response.headers["Retry-After"].isdigit()
                assert problem["detail"].startswith(
                    "The gateway can't use its database at the moment. Send the"
                )
                assert "canary" not in await response.text()

    async def test_without_the_broker_an_ecg_is_accepted_and_queued(
        self, ada: aiohttp.ClientSession, broker: InProcessBroker
    ) -> None:
        broker.disconnect()

        assert await submitted(ada, an_ecg_body()) == (202, {"id": "10", "status": "queued"})
        assert stands(await found(ada, "/ecg/10")) == {"id": "10", "status": "queued"}

    async def test_a_broker_that_does_not_confirm_delays_submissions_by_the_timeout_at_most(
        self, database: Database
    ) -> None:
        settings = GatewayOnlySettings(host="127.0.0.1", port=0, publish_timeout_s=0.1)
        async with (
            open_test_gateway(database, SlowPublisher(), settings=settings) as gateway,
            open_client(gateway, "ada") as ada,
            asyncio.timeout(5),
        ):
            assert await submitted(ada, an_ecg_body()) == (202, {"id": "10", "status": "queued"})

    async def test_an_announcement_names_the_ecg_and_holds_no_samples(
        self, ada: aiohttp.ClientSession, broker: InProcessBroker
    ) -> None:
        await submitted(ada, an_ecg_body(leads=[{"name": "I", "signal": [776655]}]))

        [body] = broker.waiting(QUEUE)
        assert read_submitted(body) == [("ada", "10", 1)]
        assert b"776655" not in body

    async def test_an_announcement_continues_the_clients_trace(
        self, ada: aiohttp.ClientSession, broker: InProcessBroker
    ) -> None:
        trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
        headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}

        await ada.post("/ecg/process", json=an_ecg_body(), headers=headers)

        assert trace_id.encode() in broker.waiting(QUEUE)[0]

    async def test_the_row_and_the_event_of_a_request_carry_its_span_and_no_others(
        self, ada: aiohttp.ClientSession, broker: InProcessBroker, database: Database
    ) -> None:
        broker.bind("deletions", EventType.DELETED)
        trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
        ada.headers["traceparent"] = f"00-{trace_id}-00f067aa0ba902b7-01"

        for ecg_id in ("10", "11"):
            await submitted(ada, an_ecg_body(id=ecg_id))
        async with database.connection() as connection:
            rows = await connection.fetch("SELECT owner || '/' || id AS subject, traceparent FROM ecg")
        announced = traceparents(broker.waiting(QUEUE))
        for ecg_id in ("10", "11"):
            await ada.delete(f"/ecg/{ecg_id}")
        erased = traceparents(broker.waiting("deletions"))

        assert announced == {row["subject"]: row["traceparent"] for row in rows}
        assert announced.keys() == erased.keys() == {"ada/10", "ada/11"}
        contexts = {*announced.values(), *erased.values()}
        assert len(contexts) == 4
        assert all(context.startswith(f"00-{trace_id}-") for context in contexts)


class TestHealth:
    async def test_a_gateway_with_its_schema_is_ready(self, nobody: aiohttp.ClientSession) -> None:
        assert await found(nobody, "/health/live") == {"status": "live"}
        ready = await found(nobody, "/health/ready")
        assert ready["status"] == "ready"
        assert "reasons" not in ready
        assert ready["parts"]["schema"].keys() == {"state", "since"}
        assert ready["parts"]["schema"]["state"] == "ok"

    async def test_a_stopping_gateway_is_not_ready_at_once(
        self, database: Database, broker: InProcessBroker
    ) -> None:
        stop_requested = asyncio.Event()
        parts = {"process": health_part_of_process(stop_requested), "schema": health_part_of_schema(database)}

        async with (
            open_test_gateway(database, broker.publisher(), health_parts=parts) as gateway,
            open_client(gateway) as nobody,
        ):
            await found(nobody, "/health/ready")
            stop_requested.set()
            async with nobody.get("/health/ready", headers={"Accept-Encoding": "identity"}) as response:
                document = await response.json()

        assert response.status == 503
        assert document["status"] == "not ready"
        assert document["reasons"] == {"process": "leaving"}
        assert document["parts"]["process"]["state"] == "failing"
        assert document["parts"]["schema"]["state"] == "ok"

    @pytest.mark.parametrize("is_there", [False, True])
    async def test_a_gateway_without_postgresql_is_live_and_not_ready_with_reasons(
        self, broker: InProcessBroker, postgres_url: str, *, is_there: bool
    ) -> None:
        away = f"postgresql://u:canary@127.0.0.1:{closed_port()}/isoline"
        async with (
            open_database(_of_no_database(postgres_url) if is_there else away) as database,
            open_test_gateway(
                database, broker.publisher(), health_parts={"schema": health_part_of_schema(database)}
            ) as gateway,
            open_client(gateway) as nobody,
        ):
            assert await found(nobody, "/health/live") == {"status": "live"}
            reason = (await readiness(nobody, 503))["reasons"]["schema"]

        assert reason.startswith("PostgreSQL: ")
        assert "canary" not in reason

    async def test_a_gateway_that_may_not_write_is_not_ready_and_recovers(
        self, database: Database, database_url: str, broker: InProcessBroker
    ) -> None:
        parts = {
            "submissions": HealthPart(check=partial(check_submissions, database), impact="None is taken.")
        }
        operator = await asyncpg.connect(database_url, timeout=_LIMIT_S)
        async with (
            open_test_gateway(database, broker.publisher(), health_parts=parts) as gateway,
            open_client(gateway, "ada") as ada,
        ):
            await found(ada, "/health/ready")
            await operator.execute(_ALTER.format("SET default_transaction_read_only = on"))
            await operator.execute(_END_OTHERS)
            unready = await readiness(ada, 503)
            async with ada.post("/ecg/process", json=an_ecg_body()) as refused:
                await problem_of(refused, 503)
            await operator.execute(_ALTER.format("RESET default_transaction_read_only"))
            await readiness(ada, 200)
            taken = [await submitted(ada, an_ecg_body(id=str(number))) for number in range(5)]
        await operator.close()

        assert "read-only" in unready["reasons"]["submissions"]
        assert refused.headers["Retry-After"] == "2"
        assert [status for status, _ in taken] == [202] * 5

    @pytest.mark.parametrize(
        ("statement", "reason"),
        [
            ("DELETE FROM _pogo_migration", "migrations are pending, run `isoline migrate`: "),
            ("DROP TABLE _pogo_migration", "migrations are pending, run `isoline migrate`: "),
            (
                "UPDATE _pogo_migration SET migration_id = migration_id || '+'",
                "migrations are pending, run `isoline migrate`: ",
            ),
            (
                """INSERT INTO _pogo_migration
                SELECT (jsonb_populate_record(t, '{"migration_id": "9999_later", "migration_hash": "x"}')).*
                FROM _pogo_migration AS t LIMIT 1""",
                "the schema is newer than this process: ['9999_later']",
            ),
        ],
    )
    async def test_a_gateway_with_an_unknown_schema_is_not_ready(
        self, nobody: aiohttp.ClientSession, database: Database, statement: str, reason: str
    ) -> None:
        async with database.connection() as connection:
            await connection.execute(statement)

        found_reason = (await readiness(nobody, 503))["reasons"]["schema"]

        assert found_reason.startswith(reason)

    async def test_where_tokens_can_not_be_judged_the_gateway_is_not_ready(
        self, database: Database, broker: InProcessBroker
    ) -> None:
        async with (
            open_test_gateway(database, broker.publisher(), accounts=HiddenAccounts(database)) as gateway,
            open_client(gateway, "ada") as ada,
        ):
            async with ada.get("/ecg/10") as refused:
                await problem_of(refused, 503)
            reason = (await readiness(ada, 503))["reasons"]["tokens"]

        assert "permission denied for table account" in reason

    async def test_each_part_of_the_database_without_permission_is_degraded(
        self, database_url: str, broker: InProcessBroker
    ) -> None:
        operator = await asyncpg.connect(database_url, timeout=_LIMIT_S)
        async with (
            open_database(database_url) as database,
            open_test_gateway(
                database, broker.publisher(), health_parts=health_parts_of_database(database)
            ) as gateway,
            open_client(gateway) as nobody,
        ):
            await readiness(nobody, 200)
            for table in ("login", "ecg_insights"):
                await operator.execute(f"ALTER TABLE {table} RENAME TO {table}_away")
            parts = await degraded(nobody, "accounts", "results", "erasures")
            for table in ("login", "ecg_insights"):
                await operator.execute(f"ALTER TABLE {table}_away RENAME TO {table}")
        await operator.close()

        assert parts["submissions"]["state"] == "ok"
        assert 'relation "login" does not exist' in parts["accounts"]["reason"]
        assert 'relation "ecg_insights" does not exist' in parts["results"]["reason"]

    async def test_while_the_schema_can_not_be_read_the_last_known_one_counts(
        self, database_url: str, broker: InProcessBroker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(health, "_CHECK_TIMEOUT_S", 0.5)
        operator = await asyncpg.connect(database_url, timeout=_LIMIT_S)
        async with (
            open_database(database_url) as database,
            open_test_gateway(
                database, broker.publisher(), health_parts=health_parts_of_database(database)
            ) as gateway,
            open_client(gateway, "ada") as ada,
        ):
            await readiness(ada, 200)
            async with operator.transaction():
                await operator.execute("LOCK _pogo_migration IN ACCESS EXCLUSIVE MODE")
                locked = await degraded(ada, "schema_check")
                status, _ = await submitted(ada, an_ecg_body())
            await operator.execute("DELETE FROM _pogo_migration")
            pending = await readiness(ada, 503)
        await operator.close()

        assert (locked["schema"]["state"], status) == ("ok", 202)
        assert pending["reasons"].keys() == {"schema"}

    async def test_a_database_without_any_schema_is_not_ready(
        self, postgres_url: str, broker: InProcessBroker
    ) -> None:
        async with (
            open_empty_database(postgres_url) as url,
            open_database(url) as database,
            open_test_gateway(
                database, broker.publisher(), health_parts={"schema": health_part_of_schema(database)}
            ) as gateway,
            open_client(gateway) as nobody,
            nobody.get("/health/ready", headers={"Accept-Encoding": "identity"}) as response,
        ):
            assert response.status == 503


class TestPaths:
    @pytest.mark.parametrize("path", ["/", "/ecgs", "/ecg/", "/ecg/a/b", "/user/ada/x", "/%00", "/token/"])
    async def test_an_unknown_path_is_a_problem(self, nobody: aiohttp.ClientSession, path: str) -> None:
        async with nobody.get(URL(path, encoded=True)) as response:
            problem = await problem_of(response, 404)

        assert problem["detail"] == "There is nothing at this path."

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("GET", "/token", "POST"),
            ("DELETE", "/user", "GET, HEAD, POST"),
            ("PUT", "/ecg/process", "POST"),
            ("POST", "/ecg/10", "DELETE, GET, HEAD"),
            ("POST", "/health/live", "GET, HEAD"),
        ],
    )
    async def test_an_unsupported_method_is_a_405_with_allow(
        self, nobody: aiohttp.ClientSession, method: str, path: str, allowed: str
    ) -> None:
        async with nobody.request(method, path) as response:
            problem = await problem_of(response, 405)

        assert response.headers["Allow"] == allowed
        assert problem["detail"] == f"This path takes {allowed}."

    async def test_each_response_has_its_own_request_id(self, ada: aiohttp.ClientSession) -> None:
        ids = set()
        for path in ("/health/live", "/health/live", "/ecg/10", "/nowhere"):
            async with ada.get(path) as response:
                ids.add(response.headers["X-Request-Id"])

        assert len(ids) == 4

    async def test_an_unexpected_exception_is_a_500_without_detail(
        self, ada: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def broken(*_: object) -> None:
            raise RuntimeError("canary")

        monkeypatch.setattr("shared.storage.postgres.ecgs.PostgresEcgStore.find", broken)

        async with ada.get("/ecg/10") as response:
            problem = await problem_of(response, 500)

        assert problem["detail"] == "Something in Isoline failed; the request may be sent again."


def _of_no_database(server_url: str) -> str:
    return urlunsplit(urlsplit(server_url)._replace(path="/isoline_test_none"))


def closed_port() -> int:
    """A port without a listener."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port
