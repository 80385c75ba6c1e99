"""The checks of ``isoline doctor``: what each looks at, and what to do when it is not well."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from gateway.auth.database_clock import LEEWAY_S
from gateway.formats.spool import SpoolDirectory
from gateway.limits.redis_counters import open_counter_store
from isoline.cli.configuration import Service, read_each
from shared.broker.inspection import (
    check_publishing,
    missing_names,
    queues_without_answer,
    read_nodes,
    read_queue,
)
from shared.broker.topology import Topology
from shared.diagnosis import (
    Check,
    Judgement,
    Verdict,
    judge_backlog,
    judge_clock,
    judge_connections,
    judge_consumers,
    judge_dead_letters,
    judge_durability,
    judge_nodes,
    judge_outbox,
    judge_processes,
    judge_queues,
    judge_schema,
    judge_server,
    judge_spool,
    judge_topology,
    judge_webhooks,
    judge_writes,
)
from shared.domain.errors import ConfigurationError, UnavailableError
from shared.ports.operators.intake import IntakeState
from shared.runtime.settings import BrokerSettings, GatewaySettings, read_settings
from shared.storage.pool.server import read_clock, read_server
from shared.storage.postgres.checks import (
    check_accounts,
    check_erasures,
    check_operations,
    check_reading,
    check_recordings,
    check_results,
    check_submissions,
)
from shared.storage.postgres.operators.backlog import PostgresBacklogReader
from shared.storage.postgres.operators.intake import PostgresIntake
from shared.storage.postgres.operators.processes import PostgresProcesses
from shared.storage.postgres.operators.webhook_counts import PostgresWebhookCounter
from shared.storage.schema.compatibility import read_schema

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping

    from pydantic_settings import BaseSettings

    from shared.storage.pool.database import Database

    _StatementCheck = Callable[[Database], Awaitable[None]]

# The statements of a service that readiness executes without data, by the name of its part.
_STATEMENTS: Final[Mapping[Service, Mapping[str, _StatementCheck]]] = {
    Service.GATEWAY: {
        "storing ECGs": check_submissions,
        "storing long ECGs": check_recordings,
        "reading results": check_reading,
        "erasing ECGs": check_erasures,
        "accounts": check_accounts,
    },
    Service.PROCESSOR: {"storing results": check_results},
    Service.OPERATOR: {"replaying": check_operations},
}

_S = TypeVar("_S", bound="BaseSettings")


def settings_check(services: Collection[Service]) -> Check:
    """Whether the settings of these services are complete and right."""
    return Check(
        name="settings",
        judge=partial(_judge_settings, services),
        remedy="change these settings; isoline config shows all",
        section="a-process-does-not-start",
    )


def read_if_right(kind: type[_S]) -> _S | None:
    """These settings; None if some are wrong, which the check of settings says."""
    try:
        return read_settings(kind)
    except ConfigurationError:
        return None


def gateway_checks(settings: GatewaySettings) -> Iterator[Check]:
    """What a gateway alone needs."""
    yield Check(
        name="spool",
        judge=partial(_judge_spool, settings),
        remedy="free or name another disk by ISOLINE_SPOOL_DIR",
        section="a-disk-is-full",
    )
    if redis_url := settings.redis_url_or_none():
        yield Check(
            name="redis",
            judge=partial(_judge_redis, redis_url),
            remedy="start Redis, or mend ISOLINE_REDIS_URL",
            section="redis-is-away",
        )


# What needs a server is not tried while that does not answer.
_of_postgresql = partial(Check, needs="postgresql")
_of_rabbitmq = partial(Check, needs="rabbitmq")


def database_checks(database: Database, services: Collection[Service]) -> Iterator[Check]:
    """What PostgreSQL is, what it lets these services do, and what waits in it."""
    yield from _server_checks(database)
    yield from _statement_checks(database, services)
    yield from _backlog_checks(database)


def _server_checks(database: Database) -> Iterator[Check]:
    yield Check(
        name="postgresql",
        judge=lambda: _judged(judge_server, read_server(database)),
        remedy="start PostgreSQL, or mend host, role and password in ISOLINE_DATABASE_URL",
        section="postgresql-is-away-or-refuses",
    )
    yield _of_postgresql(
        name="writes",
        judge=lambda: _judged(judge_writes, read_server(database)),
        remedy="promote the standby or name the primary too, or turn default_transaction_read_only off",
        section="postgresql-is-read-only-or-promoted",
    )
    yield _of_postgresql(
        name="durability",
        judge=lambda: _judged(judge_durability, read_server(database)),
        remedy="turn the setting of PostgreSQL on",
        section="postgresql-is-read-only-or-promoted",
    )
    yield _of_postgresql(
        name="connections",
        judge=lambda: _judged(judge_connections, read_server(database)),
        remedy="run fewer workers, lower ISOLINE_DATABASE_CONNECTIONS or raise max_connections",
        section="postgresql-is-away-or-refuses",
    )
    yield _of_postgresql(
        name="clock",
        judge=partial(_judge_clock, database),
        remedy="have both synchronized by NTP",
        section="clocks-are-apart",
    )
    yield _of_postgresql(
        name="schema",
        judge=partial(_judge_schema, database),
        remedy="run isoline migrate of the release that is to run",
        section="migrations-are-pending-or-too-new",
    )


def _statement_checks(database: Database, services: Collection[Service]) -> Iterator[Check]:
    for service in services:
        for name, check in _STATEMENTS[service].items():
            yield _of_postgresql(
                name=f"{service}: {name}",
                judge=partial(_judge_statements, partial(check, database)),
                remedy=f"mend that; for a privilege, run isoline db grant --{service} ROLE, or run "
                "isoline doctor with the service whose role this is",
                section="postgresql-is-away-or-refuses",
            )


def _backlog_checks(database: Database) -> Iterator[Check]:
    backlog = PostgresBacklogReader(database)
    gateway_settings = read_if_right(GatewaySettings)
    most_ecgs = gateway_settings.max_backlog if gateway_settings else None
    yield _of_postgresql(
        name="backlog",
        judge=partial(_judge_backlog, database, most_ecgs),
        remedy="see that processors are ready, or start more",
        section="ecgs-stay-queued",
    )
    yield _of_postgresql(
        name="events",
        judge=lambda: _judged(judge_outbox, backlog.read()),
        remedy="see that processors are ready and RabbitMQ takes messages",
        section="a-subscriber-hears-nothing",
    )
    yield _of_postgresql(
        name="webhooks",
        judge=lambda: _judged(judge_webhooks, PostgresWebhookCounter(database).count()),
        remedy="tell their owners, who see why in GET /webhook; if many fail, see what processors may reach",
        section="a-webhook-was-switched-off",
    )
    yield _of_postgresql(
        name="processes",
        judge=lambda: _judged(judge_processes, PostgresProcesses(database).running()),
        remedy="look at each by its log and its health; isoline ops processes shows all",
        section="a-process-is-silent",
    )


def broker_checks(
    settings: BrokerSettings, database: Database | None, services: Collection[Service]
) -> Iterator[Check]:
    """What RabbitMQ is, what it lets these services do, and what waits in it.

    In the database, if it is known, stands whether operators have paused the processors.
    """
    url, topology = settings.amqp_url.get_secret_value(), Topology(settings.amqp_namespace)
    yield Check(
        name="rabbitmq",
        judge=lambda: _judged(judge_nodes, read_nodes(url)),
        remedy="start RabbitMQ, or mend host, account and password in ISOLINE_AMQP_URL",
        section="rabbitmq-is-away-or-refuses",
    )
    yield _of_rabbitmq(
        name="topology",
        judge=lambda: _judged(judge_topology, missing_names(url, topology)),
        remedy="run isoline topology apply, or start a gateway or processor that may declare them",
        section="rabbitmq-is-away-or-refuses",
    )
    yield _of_rabbitmq(
        name="queues",
        judge=lambda: _judged(
            judge_queues, queues_without_answer(url, [topology.submitted_queue, topology.dead_letter_queue])
        ),
        remedy="start the nodes that are away; if none is, delete the queue: no ECG is lost",
        section="a-queue-has-no-leader",
    )
    if set(services) != {Service.OPERATOR}:  # who may publish no event
        yield _of_rabbitmq(
            name="publishing",
            judge=partial(_judge_publishing, url, topology),
            remedy="free disk or memory of RabbitMQ, or give the account its rights",
            section="rabbitmq-blocks-publishers",
        )
    yield _of_rabbitmq(
        name="consumers",
        judge=partial(_judge_consumers, url, topology, database),
        remedy="start a processor, look why its health says that it is not ready, or resume paused ones",
        section="ecgs-stay-queued",
    )
    yield _of_rabbitmq(
        name="dead letters",
        judge=lambda: _judged(judge_dead_letters, read_queue(url, topology.dead_letter_queue)),
        remedy="look at them with isoline dlq list, then replay or drop them",
        section="dead-letters",
    )


_Found = TypeVar("_Found")


async def _judged(judge: Callable[[_Found], Judgement], looking: Awaitable[_Found]) -> Judgement:
    return judge(await looking)


async def _judge_settings(services: Collection[Service]) -> Judgement:
    try:
        read_each(services)
    except ConfigurationError as error:
        return Judgement(Verdict.FAILED, "; ".join(str(error).splitlines()))
    return Judgement(Verdict.OK, f"those of {' and '.join(services)} are complete")


async def _judge_schema(database: Database) -> Judgement:
    async with database.connection() as connection:
        schema = await read_schema(connection)
    schema.check()
    return judge_schema(schema.pending)


async def _judge_clock(database: Database) -> Judgement:
    await read_clock(database)  # connects, which would make the next answer late
    asked_s = time.time()
    database_s = await read_clock(database)
    return judge_clock(database_s, asked_s=asked_s, answered_s=time.time(), leeway_s=LEEWAY_S)


async def _judge_statements(check: Callable[[], Awaitable[None]]) -> Judgement:
    await check()
    return Judgement(Verdict.OK, "PostgreSQL executes the statements")


async def _judge_backlog(database: Database, most_ecgs: int | None) -> Judgement:
    backlog = await PostgresBacklogReader(database).read()
    return judge_backlog(backlog, await _read_intake(database), most_ecgs=most_ecgs)


async def _judge_consumers(url: str, topology: Topology, database: Database | None) -> Judgement:
    queue = await read_queue(url, topology.submitted_queue)
    return judge_consumers(queue, await _read_intake(database))


async def _read_intake(database: Database | None) -> IntakeState:
    """Whether processors may take ECGs; that they may, where PostgreSQL does not say."""
    if database is None:
        return IntakeState()
    try:
        return await PostgresIntake(database).read()
    except UnavailableError:  # the lines of PostgreSQL tell of it
        return IntakeState()


async def _judge_publishing(url: str, topology: Topology) -> Judgement:
    await check_publishing(url, topology)
    return Judgement(Verdict.OK, "RabbitMQ takes events")


async def _judge_spool(settings: GatewaySettings) -> Judgement:
    SpoolDirectory(settings.spool_dir, max_bytes=settings.max_spooled_bytes).check()
    disk = await asyncio.to_thread(shutil.disk_usage, settings.spool_dir or tempfile.gettempdir())
    return judge_spool(free_bytes=disk.free, most_bytes=settings.workers * settings.max_spooled_bytes)


async def _judge_redis(url: str) -> Judgement:
    async with open_counter_store(url) as store:
        try:
            for part in store.health_parts.values():
                await part.check()
        except UnavailableError as error:
            return Judgement(Verdict.WARNING, f"{error}; each gateway keeps limits by itself")
    return Judgement(Verdict.OK, "Redis answers")
