"""`isoline ops ...` beside what the operations API answers, on a database."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from isoline.cli.app import app
from shared.broker.rabbitmq import dead_letters
from shared.domain.errors import ConfigurationError
from shared.events import EcgKey, failed_event
from shared.ports.ecgs import Settlement
from shared.ports.operators.processes import Presence
from shared.ports.operators.throughput import SettledCounts
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.operators.processes import PostgresProcesses
from shared.storage.postgres.operators.throughput import PostgresThroughput
from tests.support.builders import SOURCE, a_submission

if TYPE_CHECKING:
    from typer.testing import Result

    from shared.storage.pool.database import Database

_HEARD_OF: Final = "Each hears of it within 5 s, and says so itself within 5 s more (isoline ops processes)."
_WHY: Final = "Given up after 5 attempts."


@pytest.fixture(autouse=True)
def _settings(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOLINE_DATABASE_URL", database_url)
    monkeypatch.setenv("ISOLINE_AMQP_URL", "amqp://nobody:secret@127.0.0.1:1/")
    monkeypatch.setattr(dead_letters, "_COUNT_WITHIN_S", 0.5)


async def ops(*arguments: str) -> Result:
    result: Result = await asyncio.to_thread(CliRunner().invoke, app, ["ops", *arguments])
    return result


async def lines(*arguments: str) -> list[str]:
    result = await ops(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout.splitlines()


async def fail(database: Database, owner: str, ecg_id: str, reason: str = _WHY) -> None:
    store, key = PostgresEcgStore(database), EcgKey(owner, ecg_id)
    await store.add([a_submission(ecg_id, owner=owner)])
    [claim] = (await store.claim([key], claim_id=uuid4())).claimed
    event = failed_event(key, reason, source=SOURCE, now=datetime.now(UTC), traceparent=None)
    await store.settle([Settlement(claim, event, error=reason)])


async def test_the_overview_says_what_waits_is_settled_runs_and_failed(database: Database) -> None:
    await PostgresEcgStore(database).add([a_submission("1")])
    await fail(database, "ada", "2")
    process, counts = Presence(uuid4(), "processor", 1, "host", "0.2.0"), SettledCounts()
    counts.add(completed=3, failed=1, latencies_s=[0.02])
    await PostgresProcesses(database).announce(process)
    await PostgresThroughput(database).add(process.id, counts)

    shown = await lines("overview")
    document = json.loads((await ops("overview", "--format", "json")).stdout)

    assert shown[:2] == [
        "1 ECGs wait, the oldest for 0 s.",
        "1 event batches wait, the oldest for 0 s.",
    ]
    assert shown[3].startswith(
        "In the last hour: 3 ECGs completed, 1 failed, 0.00 a second; half took up to 0.0"
    )
    assert shown[4:7] == ["The processors take ECGs.", "processor: 1 working", "1 ECGs have failed."]
    assert shown[7].startswith("Dead letters can't be counted: ")
    assert "secret" not in "".join(shown)
    assert document["failed_ecgs"] == 1
    assert document["throughput"]["hour"]["completed"] == 3


async def test_failed_ecgs_are_listed_and_counted_by_the_words_of_a_replay(database: Database) -> None:
    await fail(database, "ada", "1")
    await fail(database, "bob", "2")
    await fail(database, "bob", "3", "no")

    listed = await lines("failed")
    of_bob = await lines("failed", "--owner", "bob", "--reason", _WHY)
    first_only = await lines("failed", "--limit", "1")
    grouped = await lines("failed", "--group")
    nothing = await lines("failed", "--until", "2020-01-01")

    assert [line[21:] for line in listed] == [
        "bob/3  generation 1  no",
        f"bob/2  generation 1  {_WHY}",
        f"ada/1  generation 1  {_WHY}",
    ]
    assert [line[21:26] for line in of_bob] == ["bob/2"]
    assert first_only[1:] == ["These are the last 1; there are more."]
    assert [line.split(",")[0].strip() for line in grouped] == ["2 of 2 owners", "1 of 1 owner"]
    assert nothing == []


async def test_what_failed_for_a_reason_is_replayed_and_the_audit_says_so(database: Database) -> None:
    await fail(database, "ada", "1")
    await fail(database, "ada", "2", "no")
    command = ["replay", "--reason", "no", "--why", "mended", "--who", "olga", "--yes"]

    replayed = await asyncio.to_thread(CliRunner().invoke, app, command)

    assert replayed.stdout == "1 ECGs are queued again; the relay tells the processors.\n"
    [record] = await lines("audit")
    assert record[21:].startswith("olga: replay {")
    assert '"reason":"no"' in record
    assert record.endswith("  mended")
    assert [line[21:26] for line in await lines("failed")] == ["ada/1"]


async def test_a_replay_of_everything_is_refused() -> None:
    result = await asyncio.to_thread(CliRunner().invoke, app, ["replay", "--why", "x", "--yes"])

    assert isinstance(result.exception, ConfigurationError)
    assert str(result.exception).startswith("say which: --id, --owner, --failed, --reason, --since, --until")


@pytest.mark.usefixtures("database")
async def test_the_processors_are_paused_and_resumed_each_with_a_reason() -> None:
    note = ["--why", "a disk is replaced", "--who", "olga"]

    asked = await lines("pause", *note, "--dry-run")
    paused = await lines("pause", *note, "--yes")
    shown = await lines("overview")
    resumed = await lines("resume", "--why", "done", "--who", "olga", "--yes")

    assert asked == ["all processors will be paused (nothing was done)"]
    assert paused == [shown[4], _HEARD_OF]
    assert shown[4].startswith("The processors are paused since ")
    assert shown[4].endswith(" by olga: a disk is replaced")
    assert resumed == ["The processors take ECGs.", _HEARD_OF]
    assert [line[21:] for line in await lines("audit")] == [
        'olga: resume "intake"  done',
        'olga: pause "intake"  a disk is replaced',
    ]
    assert (await ops("pause", "--why", " ", "--yes")).exit_code == 2


async def test_the_outbox_is_listed_without_what_it_says(database: Database) -> None:
    await fail(database, "ada", "1")

    [line] = await lines("outbox")

    assert line.startswith("1 events of ")
    assert "ada" not in line
