"""``isoline doctor`` on real servers: each failure has its line and its exit status."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import aio_pika
import pytest
from typer.testing import CliRunner
from yarl import URL

from isoline.cli import doctor, doctor_checks
from isoline.cli.app import app
from shared.broker.rabbitmq.consumer import open_rabbitmq_consumer
from shared.broker.topology import declare
from shared.ports.operators.operations import AuditNote
from shared.service import Service
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.operators.intake import PostgresIntake
from shared.storage.schema.compatibility import NEWEST_SCHEMA
from shared.storage.schema.grants import grant
from shared.storage.schema.migrations import migrate
from tests.support.builders import a_submission
from tests.support.databases import open_connection
from tests.support.roles import open_role, url_of_role
from tests.support.servers.folders import server_folder
from tests.support.servers.pgbouncer import open_pgbouncer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.broker.topology import Topology
    from shared.storage.pool.database import Database

_LIMIT_S: Final = 30.0
_CANARY: Final = "canary"
_AGED: Final = "UPDATE ecg SET submitted_at = now() - $1::float8 * interval '1 second'"


@pytest.fixture(autouse=True)
async def _installation(
    amqp_url: str, topology: Topology, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings of an installation whose topology is declared; no process of it runs."""
    monkeypatch.setenv("ISOLINE_AMQP_URL", amqp_url)
    monkeypatch.setenv("ISOLINE_AMQP_NAMESPACE", topology.namespace)
    monkeypatch.setenv("ISOLINE_DATABASE_URL", database_url)
    monkeypatch.setenv("ISOLINE_TOKEN_KEY", _CANARY)
    async with _channel(amqp_url) as channel:
        await declare(channel, topology)


@asynccontextmanager
async def _channel(amqp_url: str) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    async with await aio_pika.connect(amqp_url, timeout=_LIMIT_S) as connection:
        yield await connection.channel()


async def diagnosis(*arguments: str) -> tuple[int, dict[str, dict[str, str]]]:
    """The exit status, and the findings by their names."""
    async with asyncio.timeout(_LIMIT_S):
        result = await asyncio.to_thread(
            CliRunner().invoke, app, ["doctor", *arguments, "--format", "json"], catch_exceptions=False
        )
    assert _CANARY not in result.output
    return result.exit_code, {found.pop("name"): found for found in json.loads(result.output)["checks"]}


def not_well(findings: dict[str, dict[str, str]]) -> dict[str, str]:
    """The verdicts of what is not well, but for what no server of a test has."""
    absent = {"durability", "consumers"}
    return {
        name: found["verdict"]
        for name, found in findings.items()
        if found["verdict"] != "ok" and name not in absent
    }


async def test_a_whole_installation_is_well(amqp_url: str, topology: Topology) -> None:
    async with open_rabbitmq_consumer(amqp_url, topology=topology, prefetch=1):
        status, findings = await diagnosis()

    assert (status, not_well(findings)) == (0, {})
    assert findings["consumers"]["verdict"] == "ok"
    assert len(findings) == 24


async def test_a_whole_installation_is_well_behind_pgbouncer(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server_folder() as folder:
        async with open_pgbouncer(folder, database_url) as pgbouncer:
            monkeypatch.setenv("ISOLINE_DATABASE_URL", pgbouncer.url)
            _, findings = await diagnosis()

    assert not_well(findings) == {}


async def test_a_line_says_what_to_do_and_where_that_is_told() -> None:
    result = await asyncio.to_thread(CliRunner().invoke, app, ["doctor"])

    assert result.exit_code == 1
    [line] = [line for line in result.output.splitlines() if line.startswith("failed")]
    assert line.startswith("failed   consumers ")
    assert line.endswith(" (docs/runbook.md#ecgs-stay-queued)")
    assert result.output.count("\n") == 24


async def test_without_postgresql_the_rest_is_still_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOLINE_DATABASE_URL", f"postgresql://isoline:{_CANARY}@127.0.0.1:1/isoline")

    status, findings = await diagnosis()

    assert status == 1
    assert findings["postgresql"]["verdict"] == "failed"
    assert findings["backlog"]["reason"] == "not checked: see postgresql"
    assert findings["publishing"]["verdict"] == "ok"


async def test_a_refused_password_is_told_without_it(monkeypatch: pytest.MonkeyPatch, amqp_url: str) -> None:
    monkeypatch.setenv("ISOLINE_AMQP_URL", str(URL(amqp_url).with_password(_CANARY)))

    status, findings = await diagnosis("processor")

    assert status == 1
    assert "ACCESS_REFUSED" in findings["rabbitmq"]["reason"]
    assert findings["topology"]["reason"] == "not checked: see rabbitmq"
    assert findings["backlog"]["verdict"] == "ok"


async def test_rabbitmq_away_is_told(monkeypatch: pytest.MonkeyPatch, amqp_url: str) -> None:
    monkeypatch.setenv("ISOLINE_AMQP_URL", str(URL(amqp_url).with_port(1)))

    status, findings = await diagnosis("gateway")

    assert status == 1
    assert findings["rabbitmq"]["verdict"] == "failed"
    assert findings["gateway: storing ECGs"]["verdict"] == "ok"


async def test_one_node_of_two_away_is_a_warning(monkeypatch: pytest.MonkeyPatch, amqp_url: str) -> None:
    monkeypatch.setenv("ISOLINE_AMQP_URL", f"{URL(amqp_url).with_port(1)},{amqp_url}")

    _, findings = await diagnosis()

    assert not_well(findings) == {"rabbitmq": "warning"}


async def test_a_schema_that_is_not_for_this_release_has_failed(database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("DELETE FROM _pogo_migration")

    status, findings = await diagnosis()

    assert status == 1
    assert findings["schema"]["reason"].startswith("migrations are pending, run `isoline migrate`: ")
    assert findings["backlog"]["verdict"] == "ok"


async def test_migrations_that_may_wait_are_a_warning(database_url: str) -> None:
    await migrate(database_url, to=NEWEST_SCHEMA - 1)

    _, findings = await diagnosis()

    assert not_well(findings) == {"schema": "warning"}
    assert f"pending: {NEWEST_SCHEMA:04}_" in findings["schema"]["reason"]


async def test_a_read_only_database_fails_what_writes_and_nothing_else(database_url: str) -> None:
    name = urlsplit(database_url).path.removeprefix("/")
    async with open_connection(database_url) as connection:
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    status, findings = await diagnosis("processor")

    assert status == 1
    assert not_well(findings) == {"writes": "failed", "processor: storing results": "failed"}


async def test_a_gateway_needs_what_is_granted_to_one(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_role(database_url, "gateway") as role:
        await grant(database_url, {role: {Service.GATEWAY}})
        monkeypatch.setenv("ISOLINE_DATABASE_URL", url_of_role(database_url, role))
        _, findings = await diagnosis("gateway")

    assert not_well(findings) == {}


async def test_a_processor_needs_what_is_granted_to_one_and_says_what_it_lacks(
    database_url: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_role(database_url, "processor") as role:
        await grant(database_url, {role: {Service.PROCESSOR}})
        monkeypatch.setenv("ISOLINE_DATABASE_URL", url_of_role(database_url, role))
        _, granted = await diagnosis("processor")
        async with database.connection() as connection:
            await connection.execute(f"REVOKE INSERT ON ecg_insights FROM {role}")
        status, revoked = await diagnosis("processor")

    assert not_well(granted) == {}
    assert status == 1
    assert not_well(revoked) == {"processor: storing results": "failed"}
    assert "permission denied" in revoked["processor: storing results"]["reason"]


async def test_an_operator_needs_what_is_granted_to_one_and_nothing_of_a_gateway(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for setting in ("TOKEN_KEY", "SPOOL_DIR"):
        monkeypatch.delenv(f"ISOLINE_{setting}", raising=False)
    async with open_role(database_url, "operator") as role:
        await grant(database_url, {role: {Service.OPERATOR}})
        monkeypatch.setenv("ISOLINE_DATABASE_URL", url_of_role(database_url, role))
        _, of_operator = await diagnosis("operator")
        status, of_gateway = await diagnosis("gateway")

    assert not_well(of_operator) == {}
    assert of_operator["operator: replaying"]["verdict"] == "ok"
    assert status != 0
    assert "isoline db grant --gateway ROLE" in of_gateway["gateway: storing ECGs"]["remedy"]


async def test_a_paused_processor_is_a_warning_that_names_who_paused_it(database: Database) -> None:
    note = AuditNote("olga", "a disk is replaced")
    await PostgresIntake(database).change(note, is_paused=True)

    status, findings = await diagnosis()

    assert (status, findings["consumers"]["verdict"]) == (0, "warning")
    assert "by olga: a disk is replaced" in findings["consumers"]["reason"]


async def test_a_missing_queue_is_named(amqp_url: str, topology: Topology) -> None:
    async with _channel(amqp_url) as channel:
        await channel.queue_delete(topology.dead_letter_queue)

    status, findings = await diagnosis()

    assert status == 1
    assert findings["topology"]["reason"] == f"RabbitMQ does not have {topology.dead_letter_queue}"
    assert not_well(findings) == {"topology": "failed", "dead letters": "failed"}


async def test_a_dead_letter_is_a_warning(amqp_url: str, topology: Topology) -> None:
    async with (
        _channel(amqp_url) as channel,
        open_rabbitmq_consumer(amqp_url, topology=topology, prefetch=1),
    ):
        exchange = await channel.get_exchange(topology.dead_letter_exchange)
        await exchange.publish(aio_pika.Message(_CANARY.encode()), "")
        status, findings = await diagnosis()

    assert (status, not_well(findings)) == (0, {"dead letters": "warning"})
    assert findings["dead letters"]["reason"].startswith("1 dead letters")


async def test_looking_whether_events_are_taken_sends_none(amqp_url: str, topology: Topology) -> None:
    async with _channel(amqp_url) as channel:
        subscriber = await channel.declare_queue(exclusive=True)
        await subscriber.bind(topology.exchange, "#")
        _, findings = await diagnosis()
        received = await subscriber.get(fail=False)

    assert findings["publishing"]["verdict"] == "ok"
    assert received is None


async def test_without_a_processor_nothing_consumes() -> None:
    status, findings = await diagnosis()

    assert status == 1
    assert findings["consumers"]["reason"].startswith("no processor consumes")


@pytest.mark.parametrize(("age_s", "verdict"), [(120, "warning"), (1200, "failed")])
async def test_an_old_backlog_is_told_with_its_age(database: Database, age_s: float, verdict: str) -> None:
    await PostgresEcgStore(database).add([a_submission("10")])
    async with database.connection() as connection:
        await connection.execute(_AGED, age_s)

    _, findings = await diagnosis()

    assert not_well(findings) == {"backlog": verdict}
    count, age = findings["backlog"]["reason"].removesuffix(" s").split(", the oldest for ")
    assert count == "1 ECGs are queued"
    assert int(age) >= age_s


async def test_a_clock_that_is_off_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    an_hour_ago = time.time() - 3600
    monkeypatch.setattr(doctor_checks, "time", SimpleNamespace(time=lambda: an_hour_ago))

    _, findings = await diagnosis()

    assert not_well(findings) == {"clock": "warning"}


async def test_a_table_that_is_locked_hides_nothing_else(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_WITHIN_S", 2.0)

    async with open_connection(database_url) as connection, connection.transaction():
        await connection.execute("LOCK TABLE ecg IN ACCESS EXCLUSIVE MODE")
        status, findings = await diagnosis()

    assert status == 1
    assert findings["backlog"]["reason"] == "no answer within 2 s"
    assert [findings[name]["verdict"] for name in ("schema", "clock", "gateway: accounts", "topology")] == [
        "ok"
    ] * 4


async def test_a_spool_that_is_not_there_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOLINE_SPOOL_DIR", "/nowhere/at/all")

    status, findings = await diagnosis()

    assert status == 1
    assert not_well(findings) == {"spool": "failed"}


async def test_redis_away_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOLINE_REDIS_URL", f"redis://:{_CANARY}@127.0.0.1:1")

    _, findings = await diagnosis("gateway")

    assert findings["redis"]["verdict"] == "warning"
    assert "ConnectionError" in findings["redis"]["reason"]


async def test_wrong_settings_are_told_with_what_can_still_be_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ISOLINE_TOKEN_KEY", "")
    monkeypatch.setenv("ISOLINE_AMQP_URL", _CANARY)

    status, findings = await diagnosis()

    reason = findings["settings"]["reason"]
    assert status == 2
    assert "ISOLINE_TOKEN_KEY: is required and not set" in reason
    assert "ISOLINE_AMQP_URL: expected amqp://" in reason
    assert findings["postgresql"]["verdict"] == "ok"
    assert "rabbitmq" not in findings
