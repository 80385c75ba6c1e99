"""The embedded mode: PostgreSQL, an in-process broker, gateway and processor as one process.

Subscribers over AMQP need a RabbitMQ beside it.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Final

from gateway.__main__ import (
    health_parts_of_database,
    open_operators_database,
    ops_ports,
    ports_on_postgres,
)
from gateway.app import open_gateway
from gateway.auth.signing_keys import new_seed, read_keys
from isoline.embedded.demo_accounts import (
    check_no_known_passwords_on_network,
    create_demo_accounts,
    is_loopback,
)
from isoline.embedded.postgres_server import open_postgres_server
from isoline.embedded.private_files import make_folder, open_existing, replace_private
from isoline.embedded.publisher import open_embedded_publisher
from isoline.embedded.state import EmbeddedState, hold_state
from processor.__main__ import open_webhooks_on_postgres
from processor.deliveries.circuit_breaker import CircuitBreaker
from processor.deliveries.intake_gate import IntakeGate
from processor.deliveries.metrics import SETTLED_COUNTS, held_ecgs
from processor.insights import INSIGHTS
from processor.worker import NO_ANALYSIS_IMPACT, run_processor
from shared.broker.in_process import InProcessBroker
from shared.broker.topology import Topology
from shared.domain.errors import ConfigurationError, UnavailableError
from shared.event_log_retention import open_event_log_days
from shared.events import EventType
from shared.observability.logs import configure_logs
from shared.opentelemetry.switch import open_traces
from shared.ports.claim_ids import ClaimIds, new_process_id
from shared.retention import open_retention
from shared.runtime.health import HealthPart, health_part_of_process
from shared.runtime.heartbeat import Heartbeat, open_heartbeat
from shared.runtime.settings import EmbeddedSettings, read_settings
from shared.runtime.supervision import background_task
from shared.storage.pool.database import open_database
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.postgres.api_keys import PostgresApiKeyStore
from shared.storage.postgres.checks import check_results
from shared.storage.postgres.logins import PostgresLoginStore
from shared.storage.postgres.operators.backlog import PostgresBacklogReader
from shared.storage.postgres.operators.event_log_days import PostgresEventLogDays
from shared.storage.postgres.operators.intake import PostgresIntake
from shared.storage.postgres.operators.processes import PostgresProcesses
from shared.storage.postgres.operators.retention import PostgresRetention
from shared.storage.postgres.operators.throughput import PostgresThroughput
from shared.storage.postgres.outbox import PostgresOutbox
from shared.storage.postgres.webhooks.subscriptions import PostgresWebhookStore
from shared.storage.schema.compatibility import check_schema_of, connection_name
from shared.storage.schema.migrations import migrate

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from isoline.embedded.postgres_server import PostgresServer

KEY_FILE: Final = "token.key"


async def serve(stop_requested: asyncio.Event) -> None:
    """Run everything until a stop is requested.

    Raises:
        ConfigurationError: The port is taken, this folder can't be used, its Isoline runs already, or other
            machines could reach it although it has demo accounts.
    """
    settings = read_settings(EmbeddedSettings)
    is_local = is_loopback(settings.host)
    if not is_local:
        settings = settings.for_network()
    configure_logs("embedded", settings.log_level)
    make_folder(settings.var)
    with hold_state(settings.var) as write_state:
        async with open_postgres_server(settings.var / "postgres") as server:
            await migrate(server.url)

            def ready(address: str) -> None:
                write_state(EmbeddedState(os.getpid(), address, server.url, is_local))

            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(_fail_when_server_ends(server))
                await _serve_on(server.url, settings, stop_requested, ready, is_local=is_local)
                watch.cancel()


async def _serve_on(
    database_url: str,
    settings: EmbeddedSettings,
    stop_requested: asyncio.Event,
    ready: Callable[[str], None],
    *,
    is_local: bool,
) -> None:
    broker, queue = InProcessBroker(), Topology().submitted_queue
    broker.bind(queue, EventType.SUBMITTED)
    in_process, amqp_url = broker.publisher(), settings.amqp_url.get_secret_value()
    async with (
        open_traces("embedded", os.environ),
        open_database(
            database_url, name=connection_name("embedded"), check_schema=check_schema_of
        ) as database,
        open_operators_database(database_url, "embedded") as operators_database,
        broker.consumer(queue, prefetch=settings.prefetch) as consumer,
        open_embedded_publisher(in_process, amqp_url, namespace=settings.amqp_namespace) as (
            publisher,
            health_part_of_broker,
        ),
        open_retention(
            PostgresRetention(database),
            older_than=settings.retention_period,
            ecgs_per_s=settings.retention_ecgs_per_s,
        ),
        open_event_log_days(PostgresEventLogDays(database), days=settings.event_retention_days),
        open_webhooks_on_postgres(database, settings),
    ):
        letters = broker.operators_letters(queue)
        ports = ports_on_postgres(database, publisher, source=settings.source)
        accounts = PostgresAccountStore(database)
        if is_local:
            await create_demo_accounts(accounts)
        else:
            await check_no_known_passwords_on_network(accounts, settings.host)
        await PostgresOutbox(database).make_all_due()
        breaker = CircuitBreaker(partial(check_results, database))
        gate, process_id = IntakeGate(consumer, PostgresIntake(database)), new_process_id()
        gateway = open_gateway(
            settings,
            token_key=token_key(settings.var),
            ecgs=ports,
            accounts=accounts,
            logins=PostgresLoginStore(database),
            api_keys=PostgresApiKeyStore(database),
            webhooks=PostgresWebhookStore(database),
            backlog=PostgresBacklogReader(database),
            ops=ops_ports(operators_database, letters, lambda: nullcontext(letters), source=settings.source),
            health_parts={
                "process": health_part_of_process(stop_requested),
                **health_parts_of_database(database),
                "analysis": HealthPart(
                    check=breaker.check, impact=NO_ANALYSIS_IMPACT, is_in_memory=True, is_logged=False
                ),
                "intake": gate.health_part,
                **health_part_of_broker,
            },
            operations_port=settings.operations_port,
            amqp_namespace=settings.amqp_namespace,
        )
        heartbeat = Heartbeat(
            PostgresProcesses(database),
            process_id=process_id,
            service="embedded",
            worker=1,
            is_draining=stop_requested.is_set,
            held_ecgs=held_ecgs,
            is_paused=gate.is_paused,
            settled=(SETTLED_COUNTS, PostgresThroughput(database)),
        )
        async with (
            open_heartbeat(heartbeat),
            background_task(gate.run, "reading the intake"),
            asyncio.TaskGroup() as tasks,  # both drain at the same time, each within its limit
        ):
            tasks.create_task(_run_gateway(gateway, stop_requested, ready))
            await run_processor(
                settings,
                insights=INSIGHTS,
                store=ports.store,
                outbox=ports.outbox,
                publisher=ports.publisher,
                event_source=ports.event_source,
                consumer=gate,
                is_intake_paused=gate.is_paused,
                announcer=in_process,
                breaker=breaker,
                claim_ids=ClaimIds(process_id),
                stop_requested=stop_requested,
            )


async def _run_gateway(
    gateway: AbstractAsyncContextManager[str], stop_requested: asyncio.Event, ready: Callable[[str], None]
) -> None:
    async with gateway as address:
        ready(address)
        await stop_requested.wait()


def token_key(var: Path) -> str:
    """The key that signs this folder's tokens; made on first use, readable by its owner alone.

    Raises:
        ConfigurationError: The file holds no key, or can't be used.
    """
    path = var / KEY_FILE
    key = read_key(path)
    if key is None:
        key = new_seed()
        write_key(path, key)
    return key


def read_key(path: Path) -> str | None:
    """The signing key in a file, or both keys during a rotation; None if there is no file.

    Raises:
        ConfigurationError: The file holds none, or can't be read.
    """
    file = open_existing(path)
    if file is None:
        return None
    try:
        with file:
            key = file.read().decode()
        read_keys(key)
    except (UnicodeDecodeError, ConfigurationError):
        detail = f"{path} holds no key; without that file, the next start makes one and ends every login"
        raise ConfigurationError(detail) from None
    return key


def write_key(path: Path, key: str) -> None:
    """Write the key to the file atomically, readable by its owner alone.

    Raises:
        ConfigurationError: The file can't be written.
    """
    replace_private(path, key.encode())


async def _fail_when_server_ends(server: PostgresServer) -> None:
    status = await server.wait()
    raise UnavailableError(f"the embedded PostgreSQL ended with status {status}")
