"""``python -m processor [--workers N]``: a processor against PostgreSQL and RabbitMQ; as many as you like."""

from __future__ import annotations

import gc
import math
import os
import sys
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import typer

from processor.deliveries.circuit_breaker import CircuitBreaker
from processor.deliveries.intake_gate import IntakeGate
from processor.deliveries.metrics import SETTLED_COUNTS, held_ecgs
from processor.insights import INSIGHTS
from processor.webhooks.delivering import Senders
from processor.webhooks.dispatcher import open_webhooks
from processor.webhooks.sender import open_webhook_sender
from processor.worker import NO_ANALYSIS_IMPACT, run_processor
from shared.backlog_age import health_part_of_backlog_age
from shared.broker.rabbitmq.consumer import open_rabbitmq_consumer
from shared.broker.rabbitmq.publisher import open_rabbitmq_publisher
from shared.broker.topology import Topology
from shared.event_log_retention import open_event_log_days
from shared.observability.logs import configure_logs
from shared.opentelemetry.switch import open_traces
from shared.ports.claim_ids import ClaimIds, new_process_id
from shared.retention import open_retention
from shared.runtime.health import HealthPart, health_part_of_process, open_health
from shared.runtime.heartbeat import Heartbeat, open_heartbeat
from shared.runtime.operations_port import open_operations_port
from shared.runtime.process import process_name, run_until_signal, this_worker
from shared.runtime.scraped_metrics import ScrapedMetrics
from shared.runtime.settings import ProcessorSettings, read_settings
from shared.runtime.supervision import background_task
from shared.runtime.workers import WorkersOption, run_workers
from shared.storage.pool.database import open_database
from shared.storage.postgres.checks import check_results
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.event_log import PostgresEventLog
from shared.storage.postgres.event_source import PostgresEventSource
from shared.storage.postgres.operators.backlog import PostgresBacklogReader
from shared.storage.postgres.operators.event_log_days import PostgresEventLogDays
from shared.storage.postgres.operators.intake import PostgresIntake
from shared.storage.postgres.operators.processes import PostgresProcesses
from shared.storage.postgres.operators.retention import PostgresRetention
from shared.storage.postgres.operators.throughput import PostgresThroughput
from shared.storage.postgres.outbox import PostgresOutbox
from shared.storage.postgres.webhooks.dispatch import PostgresWebhookDispatch
from shared.storage.schema.compatibility import check_schema_of, connection_name
from shared.storage.schema.known_schema import health_parts_of_schema

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator

    from shared.runtime.settings import ProcessorOnlySettings
    from shared.storage.pool.database import Database

# A batch of 512 ECGs is some 20,000 objects with one lifetime. With Python's default threshold of 700 the
# collector scanned them again and again, a fifth of the time of a small ECG.
_OBJECTS_BETWEEN_COLLECTIONS: Final = 50_000
# A short restart or memory alarm of the broker needs no operator at the processors.
_WITHOUT_EVENTS_S: Final = 60.0


async def serve(stop_requested: asyncio.Event, *, workers: str | None) -> None:
    """Run a processor, or the parent of its workers, until a stop is requested."""
    settings = read_settings(ProcessorSettings, workers=workers)
    worker = this_worker()
    configure_logs("processor", settings.log_level, worker=worker.number if worker else None)
    if settings.workers > 1 and worker is None:
        await run_workers(settings.workers, stop_requested)
    else:
        await _serve_alone(settings, stop_requested, worker.number if worker else 1)


async def _serve_alone(settings: ProcessorSettings, stop_requested: asyncio.Event, worker: int) -> None:
    database_url, amqp_url = settings.database_url.get_secret_value(), settings.amqp_url.get_secret_value()
    topology, process_id = Topology(settings.amqp_namespace), new_process_id()
    async with (
        open_traces("processor", os.environ, worker=worker),
        open_database(
            database_url,
            max_connections=settings.database_connections,
            name=connection_name("processor"),
            check_schema=check_schema_of,
        ) as database,
        open_rabbitmq_publisher(amqp_url, topology=topology, process=process_name("processor")) as publisher,
        open_rabbitmq_consumer(
            amqp_url,
            topology=topology,
            prefetch=settings.prefetch,
            process=process_name("processor"),
            is_paused=True,
        ) as consumer,
    ):
        backlog = PostgresBacklogReader(database)
        breaker = CircuitBreaker(partial(check_results, database))
        gate = IntakeGate(consumer, PostgresIntake(database))
        health_parts = {
            "process": health_part_of_process(stop_requested),
            **health_parts_of_schema(database, impact=NO_ANALYSIS_IMPACT),
            "results": HealthPart(
                check=breaker.check, impact=NO_ANALYSIS_IMPACT, is_in_memory=True, is_logged=False
            ),
            "broker": HealthPart(check=consumer.check, impact=NO_ANALYSIS_IMPACT, is_in_memory=True),
            "consumer": HealthPart(
                check=consumer.check_consuming,
                impact="This processor is given no messages.",
                fails_after_s=math.inf,  # what keeps it from consuming has a part of its own
                is_in_memory=True,
                is_logged=False,
            ),
            "intake": gate.health_part,
            "backlog_age": health_part_of_backlog_age(backlog, warning_s=settings.backlog_age_warning_s),
            "events": HealthPart(
                check=publisher.check_last_publish,
                impact="Results are kept; what is not announced yet goes out once the broker takes it.",
                fails_after_s=_WITHOUT_EVENTS_S,
                is_in_memory=True,
            ),
        }
        async with (
            open_health(health_parts) as health,
            open_operations_port(
                settings.operations_host,
                settings.operations_port_of(worker),
                health=health,
                metrics=ScrapedMetrics(health, backlog),
            ),
            open_retention(
                PostgresRetention(database),
                older_than=settings.retention_period,
                ecgs_per_s=settings.retention_ecgs_per_s,
            ),
            open_event_log_days(PostgresEventLogDays(database), days=settings.event_retention_days),
            open_webhooks_on_postgres(database, settings),
            open_heartbeat(
                Heartbeat(
                    PostgresProcesses(database),
                    process_id=process_id,
                    service="processor",
                    worker=worker,
                    is_draining=stop_requested.is_set,
                    held_ecgs=held_ecgs,
                    is_paused=gate.is_paused,
                    settled=(SETTLED_COUNTS, PostgresThroughput(database)),
                )
            ),
            background_task(gate.run, "reading the intake"),
        ):
            await run_processor(
                settings,
                insights=INSIGHTS,
                store=PostgresEcgStore(database),
                outbox=PostgresOutbox(database),
                publisher=publisher,
                event_source=PostgresEventSource(database, source=settings.source),
                consumer=gate,
                is_intake_paused=gate.is_paused,
                breaker=breaker,
                claim_ids=ClaimIds(process_id),
                stop_requested=stop_requested,
            )


@asynccontextmanager
async def open_webhooks_on_postgres(
    database: Database, settings: ProcessorOnlySettings
) -> AsyncIterator[None]:
    """Send for webhooks while the context is open."""
    source = PostgresEventSource(database, source=settings.source)
    async with open_webhook_sender(settings.egress_rules, ca_file=settings.webhook_ca_file) as sender:
        senders = Senders(
            dispatch=PostgresWebhookDispatch(database),
            log=PostgresEventLog(database, source),
            event_source=source,
            sender=sender,
        )
        async with open_webhooks(senders, delivery_days=settings.event_retention_days):
            yield


def main(workers: WorkersOption = None) -> None:
    """Run a processor against ISOLINE_DATABASE_URL and ISOLINE_AMQP_URL until a stop is requested."""
    gc.freeze()  # modules never become garbage
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    sys.exit(run_until_signal(partial(serve, workers=workers)))


if __name__ == "__main__":
    typer.run(main)
