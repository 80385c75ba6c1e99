"""Which processes run: what they say of themselves, and `isoline ops`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from typer.testing import CliRunner

from gateway import app as gateway_app
from gateway.__main__ import _serve_alone as serve_gateway
from gateway.auth.signing_keys import new_seed
from isoline.cli.app import app
from shared.domain.errors import UnavailableError
from shared.ports.claim_ids import new_process_id
from shared.ports.operators.processes import Presence
from shared.release import RELEASE
from shared.runtime import heartbeat as heartbeat_module
from shared.runtime.heartbeat import Heartbeat, open_heartbeat
from shared.runtime.settings import GatewaySettings, read_settings
from shared.storage.pool.database import open_database
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.operators.processes import PostgresProcesses, find_processes
from shared.storage.schema.migrations import migrate
from tests.support.builders import a_submission
from tests.support.logs import capture_logs
from tests.support.polling import until
from tests.support.roles import open_role, url_of_role

if TYPE_CHECKING:
    from uuid import UUID

    import pytest

    from shared.storage.pool.database import Database

_SCHEMA_BEFORE: Final = 12
_LIMIT_S: Final = 60


def a_presence(service: str = "processor", *, worker: int = 1, held_ecgs: int | None = 7) -> Presence:
    return Presence(uuid4(), service, worker, "host-1", "0.2.0", held_ecgs=held_ecgs, pid=4711)


async def age(database: Database, process_id: UUID, seconds: int) -> None:
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE process SET seen_at = now() - $2::integer * interval '1 second' WHERE id = $1",
            process_id,
            seconds,
        )


async def test_a_process_is_known_by_what_it_said_last_and_as_ended_once_it_left(
    database: Database,
) -> None:
    processes, other = PostgresProcesses(database), a_presence(worker=2)
    presence = a_presence()
    assert await processes.announce(presence)
    assert await processes.announce(other)
    [first, _] = await processes.running()
    await processes.announce(presence._replace(is_draining=True, held_ecgs=0))
    [second, _] = await processes.running()
    await processes.leave(presence.id)

    assert first.presence == presence
    assert second.presence == presence._replace(is_draining=True, held_ecgs=0)
    assert second.started_at == first.started_at
    assert 0 <= second.seen_s < 60
    [ended, running] = await processes.running()
    assert (ended.presence.id, ended.presence.held_ecgs) == (presence.id, 0)
    assert ended.ended_at is not None
    assert (running.presence, running.ended_at) == (other, None)


async def test_one_that_was_killed_is_silent_for_an_hour_and_known_for_a_week(database: Database) -> None:
    processes = PostgresProcesses(database)
    killed, gone, long_gone = (a_presence(worker=number) for number in (1, 2, 3))
    for presence, seconds in (killed, 90), (gone, 3601), (long_gone, 7 * 24 * 3600 + 1):
        await processes.announce(presence)
        await age(database, presence.id, seconds)

    [seen] = await processes.running()
    await processes.announce(a_presence(worker=4))

    assert seen.presence == killed
    assert 90 <= seen.seen_s < 150
    async with database.connection() as connection:
        known = await find_processes(connection, [killed.id, gone.id, long_gone.id])
    assert known.keys() == {killed.id, gone.id}


async def test_a_schema_from_before_knows_none(database_url: str) -> None:
    await migrate(database_url, to=_SCHEMA_BEFORE)
    async with open_database(database_url) as database:
        processes, presence = PostgresProcesses(database), a_presence()

        assert not await processes.announce(presence)
        await processes.leave(presence.id)
        assert await processes.running() == []


async def test_a_schema_that_keeps_none_that_ended_knows_those_that_run(database_url: str) -> None:
    await migrate(database_url, to=_SCHEMA_BEFORE + 2)
    async with open_database(database_url) as database:
        processes, presence, other = PostgresProcesses(database), a_presence(), a_presence(worker=2)
        await processes.announce(presence)
        await processes.announce(other)
        await processes.leave(presence.id)

        assert [process.presence for process in await processes.running()] == [other._replace(pid=None)]


async def test_a_role_without_the_privilege_is_no_outage_and_said_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat_module, "_EVERY_S", 0.01)
    async with (
        open_role(database_url, "stranger") as role,
        open_database(url_of_role(database_url, role)) as database,
    ):
        processes = CountingProcesses(PostgresProcesses(database))
        with capture_logs() as records:
            async with open_heartbeat(a_heartbeat(processes)):
                await until(lambda: processes.announced >= 3)

    assert [record["message"] for record in records] == ["operators don't see this process"]


class CountingProcesses:
    """Counts what it passes on, and fails if it is told to."""

    def __init__(self, processes: PostgresProcesses, *, is_away: bool = False) -> None:
        self._processes = processes
        self.is_away = is_away
        self.announced = 0

    async def announce(self, presence: Presence) -> bool:
        self.announced += 1
        if self.is_away:
            raise UnavailableError("away")
        return await self._processes.announce(presence)

    async def leave(self, process_id: UUID) -> None:
        if self.is_away:
            raise UnavailableError("away")
        await self._processes.leave(process_id)

    async def running(self) -> list[object]:
        return [*await self._processes.running()]


def a_heartbeat(processes: CountingProcesses, *, draining: asyncio.Event | None = None) -> Heartbeat:
    draining = draining or asyncio.Event()
    return Heartbeat(
        processes,  # type: ignore[arg-type] # it passes on
        process_id=new_process_id(),
        service="processor",
        worker=3,
        is_draining=draining.is_set,
        held_ecgs=lambda: 5,
    )


async def test_a_heartbeat_says_what_its_process_does_through_outages_and_that_it_ended(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat_module, "_EVERY_S", 0.01)
    processes, draining = CountingProcesses(PostgresProcesses(database), is_away=True), asyncio.Event()

    with capture_logs() as records:
        async with open_heartbeat(a_heartbeat(processes, draining=draining)):
            await until(lambda: processes.announced >= 2)
            processes.is_away = False
            await until(processes.running)
            [working] = await PostgresProcesses(database).running()
            draining.set()
            beats = processes.announced
            await until(lambda: processes.announced >= beats + 2)
            [leaving] = await PostgresProcesses(database).running()

    assert (working.presence.service, working.presence.worker, working.presence.release) == (
        "processor",
        3,
        RELEASE,
    )
    assert (working.presence.held_ecgs, working.presence.is_draining) == (5, False)
    assert leaving.presence.is_draining
    [ended] = await PostgresProcesses(database).running()
    assert ended.ended_at is not None
    assert records == []


async def test_a_gateway_is_seen_draining_until_it_has_answered_what_it_has(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "DATABASE_URL": database_url,
        "AMQP_URL": "amqp://127.0.0.1:1/",
        "TOKEN_KEY": new_seed(),
        "HOST": "127.0.0.1",
        "PORT": "0",
    }.items():
        monkeypatch.setenv(f"ISOLINE_{name}", value)
    monkeypatch.setattr(heartbeat_module, "_EVERY_S", 0.01)
    stop_requested, has_answered = asyncio.Event(), asyncio.Event()

    async def drain(*_: object, **__: object) -> None:
        await has_answered.wait()

    monkeypatch.setattr(gateway_app, "_drain", drain)

    async def is_draining() -> bool:
        [process] = await PostgresProcesses(database).running()
        return process.presence.is_draining

    async with asyncio.timeout(_LIMIT_S):
        serving = asyncio.create_task(serve_gateway(read_settings(GatewaySettings), stop_requested, 1))
        await until(PostgresProcesses(database).running)
        stop_requested.set()
        await until(is_draining)
        [draining] = await PostgresProcesses(database).running()
        has_answered.set()
        await serving

    [ended] = await PostgresProcesses(database).running()
    assert draining.ended_at is None
    assert ended.ended_at is not None


async def test_the_commands_print_processes_and_the_backlog(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOLINE_DATABASE_URL", database_url)
    processes = PostgresProcesses(database)
    gateway, silent = a_presence("gateway", held_ecgs=None), a_presence()
    await processes.announce(gateway)
    await processes.announce(silent)
    await processes.announce(a_presence(worker=2)._replace(is_draining=True))
    ended = a_presence(worker=3)
    await processes.announce(ended)
    await processes.leave(ended.id)
    await age(database, silent.id, 100)
    await PostgresEcgStore(database).add([a_submission("1"), a_submission("2")])

    listed, backlog = [
        await asyncio.to_thread(CliRunner().invoke, app, ["ops", command])
        for command in ("processes", "backlog")
    ]

    first, second, third, fourth = listed.stdout.splitlines()
    assert first.startswith("gateway/1 on host-1, pid 4711  0.2.0  since ")
    assert first.endswith("  working")
    assert second.startswith("processor/1 on host-1, pid 4711  0.2.0  since ")
    assert "silent for 10" in second
    assert third.endswith("  draining, holds 7 ECGs")
    assert "  ended at " in fourth
    assert backlog.stdout.splitlines() == [
        "2 ECGs wait, the oldest for 0 s.",
        "0 event batches wait, the oldest for 0 s.",
    ]
