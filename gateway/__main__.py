"""``python -m gateway [--workers N]``: the gateway against PostgreSQL and RabbitMQ."""

from __future__ import annotations

import gc
import math
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import typer

from gateway.app import open_gateway
from gateway.ecgs.feature import EcgPorts
from gateway.ops.feature import OpsPorts
from shared.broker.rabbitmq.dead_letters import RabbitmqDeadLetterCounter, open_dead_letters
from shared.broker.rabbitmq.publisher import open_rabbitmq_publisher
from shared.broker.topology import Topology
from shared.observability.logs import configure_logs
from shared.opentelemetry.switch import open_traces
from shared.ports.claim_ids import new_process_id
from shared.runtime.health import HealthPart, health_part_of_process
from shared.runtime.heap import share_one_heap
from shared.runtime.heartbeat import Heartbeat, open_heartbeat
from shared.runtime.process import process_name, run_until_signal, this_worker
from shared.runtime.settings import GatewaySettings, read_settings
from shared.runtime.workers import WorkersOption, hold_port, run_workers
from shared.storage.pool.database import open_database
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.postgres.api_keys import PostgresApiKeyStore
from shared.storage.postgres.checks import (
    check_accounts,
    check_erasures,
    check_reading,
    check_recordings,
    check_submissions,
)
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.event_log import PostgresEventLog
from shared.storage.postgres.event_source import PostgresEventSource
from shared.storage.postgres.logins import PostgresLoginStore
from shared.storage.postgres.operators.audit import PostgresAudit
from shared.storage.postgres.operators.backlog import PostgresBacklogReader
from shared.storage.postgres.operators.finished_ecgs import PostgresFinishedEcgs
from shared.storage.postgres.operators.outbox_state import PostgresOutboxReader
from shared.storage.postgres.operators.overview import overview_sources
from shared.storage.postgres.operators.processes import PostgresProcesses
from shared.storage.postgres.operators.timelines import PostgresTimelines
from shared.storage.postgres.outbox import PostgresOutbox
from shared.storage.postgres.owned_ecgs import PostgresOwnedEcgs
from shared.storage.postgres.recordings import PostgresRecordingStore
from shared.storage.postgres.webhooks.subscriptions import PostgresWebhookStore
from shared.storage.schema.compatibility import check_schema_of, connection_name
from shared.storage.schema.known_schema import health_parts_of_schema

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from shared.ports.broker import Publisher
    from shared.ports.operators.dead_letters import DeadLetterCounter, DeadLetters
    from shared.storage.pool.database import Database

# 256 open requests are far more objects than the 700 of Python's default, and the collector looked through
# them again and again: a fifth of the time that a small ECG takes. Five times as many save nothing more.
_OBJECTS_BETWEEN_COLLECTIONS: Final = 10_000
# Operators take none that senders need, and open none before somebody asks.
_OPERATORS_CONNECTIONS: Final = 2


async def serve(stop_requested: asyncio.Event, *, workers: str | None) -> None:
    """Run the gateway, or the parent of its workers, until a stop is requested."""
    settings = read_settings(GatewaySettings, workers=workers)
    worker = this_worker()
    configure_logs("gateway", settings.log_level, worker=worker.number if worker else None)
    if settings.workers > 1 and worker is None:
        async with hold_port(settings.host, settings.port):
            await run_workers(settings.workers, stop_requested)
    else:
        await _serve_alone(settings, stop_requested, worker.number if worker else 1)


async def _serve_alone(settings: GatewaySettings, stop_requested: asyncio.Event, worker: int) -> None:
    topology = Topology(settings.amqp_namespace)
    async with (
        open_traces("gateway", os.environ, worker=worker),
        open_database(
            settings.database_url.get_secret_value(),
            max_connections=settings.database_connections,
            name=connection_name("gateway"),
            check_schema=check_schema_of,
        ) as database,
        open_rabbitmq_publisher(
            settings.amqp_url.get_secret_value(),
            topology=topology,
            process=process_name("gateway"),
            timeout_s=settings.publish_timeout_s,
        ) as publisher,
        open_operators_database(settings.urls_of_operators[0], "gateway") as operators_database,
        open_heartbeat(
            Heartbeat(
                PostgresProcesses(database),
                process_id=new_process_id(),
                service="gateway",
                worker=worker,
                is_draining=stop_requested.is_set,
            )
        ),
        open_gateway(
            settings,
            token_key=settings.token_key.get_secret_value(),
            ecgs=ports_on_postgres(database, publisher, source=settings.source),
            accounts=PostgresAccountStore(database),
            logins=PostgresLoginStore(database),
            api_keys=PostgresApiKeyStore(database),
            webhooks=PostgresWebhookStore(database),
            backlog=PostgresBacklogReader(database),
            ops=ops_ports(
                operators_database,
                RabbitmqDeadLetterCounter(settings.urls_of_operators[1], topology=topology),
                partial(open_dead_letters, settings.urls_of_operators[1], topology=topology),
                source=settings.source,
            ),
            health_parts={
                "process": health_part_of_process(stop_requested),
                **health_parts_of_database(database),
                "broker": HealthPart(
                    check=publisher.check_last_publish,
                    impact="ECGs are taken and kept; they are announced once the broker takes them.",
                    fails_after_s=math.inf,
                    is_in_memory=True,
                ),
            },
            operations_port=settings.operations_port_of(worker),
            amqp_namespace=settings.amqp_namespace,
            shares_port=settings.workers > 1,
        ),
    ):
        await stop_requested.wait()


def ports_on_postgres(database: Database, publisher: Publisher, *, source: str = "") -> EcgPorts:
    """The ports of ECGs, with PostgreSQL as storage."""
    return EcgPorts(
        store=PostgresEcgStore(database),
        recordings=PostgresRecordingStore(database),
        owned_ecgs=PostgresOwnedEcgs(database),
        outbox=PostgresOutbox(database),
        publisher=publisher,
        event_source=(event_source := PostgresEventSource(database, source=source)),
        event_log=PostgresEventLog(database, event_source),
    )


def open_operators_database(url: str, service: str) -> AbstractAsyncContextManager[Database]:
    """The database for `/ops`, with connections of its own."""
    return open_database(
        url,
        max_connections=_OPERATORS_CONNECTIONS,
        name=connection_name(f"{service} ops"),
        check_schema=check_schema_of,
        is_for_operators=True,
    )


def ops_ports(
    database: Database,
    dead_letters: DeadLetterCounter,
    open_letters: Callable[[], AbstractAsyncContextManager[DeadLetters]],
    *,
    source: str = "",
) -> OpsPorts:
    """The ports of operators, with PostgreSQL as storage."""
    return OpsPorts(
        sources=overview_sources(database, dead_letters),
        ecgs=PostgresFinishedEcgs(database),
        timelines=PostgresTimelines(database, PostgresEventSource(database, source=source)),
        outbox=PostgresOutboxReader(database),
        audit=PostgresAudit(database),
        open_letters=open_letters,
    )


def health_parts_of_database(database: Database) -> dict[str, HealthPart]:
    """What a gateway needs of PostgreSQL; it can do without some while others are served."""
    return {
        **health_parts_of_schema(
            database, impact="Requests are answered with 503 and may be sent again later."
        ),
        "submissions": HealthPart(
            check=partial(check_submissions, database),
            impact="Submissions are answered with 503 and may be sent again later.",
            is_logged=False,
        ),
        "recordings": HealthPart(
            check=partial(check_recordings, database),
            impact=(
                "ECGs of more than 500,000 samples are answered with 503 and may be sent again later; "
                "others are taken."
            ),
            is_logged=False,
            fails_after_s=math.inf,
        ),
        "results": HealthPart(
            check=partial(check_reading, database),
            impact="Requests for results and lists are answered with 503 and may be sent again later.",
            is_logged=False,
            fails_after_s=math.inf,
        ),
        "erasures": HealthPart(
            check=partial(check_erasures, database),
            impact="Requests to erase an ECG are answered with 503 and may be sent again later.",
            is_logged=False,
            fails_after_s=math.inf,
        ),
        "accounts": HealthPart(
            check=partial(check_accounts, database),
            impact=(
                "Logins, or changes of accounts, are answered with 503; "
                "tokens serve on while the part `tokens` is ok."
            ),
            is_logged=False,
            fails_after_s=math.inf,
        ),
    }


def main(workers: WorkersOption = None) -> None:
    """Run a gateway against ISOLINE_DATABASE_URL and ISOLINE_AMQP_URL until a stop is requested."""
    share_one_heap()
    gc.freeze()  # modules never become garbage
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    sys.exit(run_until_signal(partial(serve, workers=workers)))


if __name__ == "__main__":
    typer.run(main)
