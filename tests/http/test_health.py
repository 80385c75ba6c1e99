"""`/health/live` and `/health/ready` of a gateway."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from gateway.__main__ import health_parts_of_database
from shared.domain.errors import UnavailableError
from shared.runtime import health
from shared.runtime.health import HealthPart, health_part_of_process
from shared.storage.pool.database import open_database
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.postgres.checks import check_submissions
from tests.http.conftest import health_part_of_schema, open_client, open_test_gateway, problem_of
from tests.http.ecg_requests import get_json, submit
from tests.support.builders import an_ecg_body
from tests.support.databases import open_empty_database
from tests.support.servers.services import free_port

if TYPE_CHECKING:
    import aiohttp

    from shared.broker.in_process import InProcessBroker
    from shared.ports.accounts import AccountChanges
    from shared.storage.pool.database import Database

_LIMIT_S = 10
_ALTER = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I {}', current_database()); END $$"
_END_OTHERS = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class HiddenAccounts(PostgresAccountStore):
    """Accounts that the role may not read."""

    async def recent_changes(self) -> AccountChanges:
        raise UnavailableError("permission denied for table account", is_logged=True)


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


class TestHealth:
    async def test_a_gateway_with_its_schema_is_ready(self, nobody: aiohttp.ClientSession) -> None:
        assert await get_json(nobody, "/health/live") == {"status": "live"}
        ready = await get_json(nobody, "/health/ready")
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
            await get_json(nobody, "/health/ready")
            stop_requested.set()
            async with nobody.get("/health/ready", headers={"Accept-Encoding": "identity"}) as response:
                document = await response.json()

        assert response.status == 503
        assert document["status"] == "not ready"
        assert document["reasons"] == {"process": "draining: it was told to stop"}
        assert document["parts"]["process"]["state"] == "failing"
        assert document["parts"]["schema"]["state"] == "ok"

    @pytest.mark.parametrize("is_there", [False, True])
    async def test_a_gateway_without_postgresql_is_live_and_not_ready_with_reasons(
        self, broker: InProcessBroker, postgres_url: str, *, is_there: bool
    ) -> None:
        away = f"postgresql://u:canary@127.0.0.1:{free_port()}/isoline"
        async with (
            open_database(_of_no_database(postgres_url) if is_there else away) as database,
            open_test_gateway(
                database, broker.publisher(), health_parts={"schema": health_part_of_schema(database)}
            ) as gateway,
            open_client(gateway) as nobody,
        ):
            assert await get_json(nobody, "/health/live") == {"status": "live"}
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
            await get_json(ada, "/health/ready")
            await operator.execute(_ALTER.format("SET default_transaction_read_only = on"))
            await operator.execute(_END_OTHERS)
            unready = await readiness(ada, 503)
            async with ada.post("/ecg/process", json=an_ecg_body()) as refused:
                await problem_of(refused, 503)
            await operator.execute(_ALTER.format("RESET default_transaction_read_only"))
            await readiness(ada, 200)
            taken = [await submit(ada, an_ecg_body(id=str(number))) for number in range(5)]
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
                status, _ = await submit(ada, an_ecg_body())
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


def _of_no_database(server_url: str) -> str:
    return urlunsplit(urlsplit(server_url)._replace(path="/isoline_test_none"))
