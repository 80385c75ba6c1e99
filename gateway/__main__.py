"""``python -m gateway``: the gateway against PostgreSQL and RabbitMQ."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

from gateway.app import open_gateway
from shared.broker.rabbitmq_publisher import open_rabbitmq_publisher
from shared.broker.topology import Topology
from shared.process import check_staying, run_until_told
from shared.settings import GatewaySettings, read_settings
from shared.storage.postgres import open_database
from shared.storage.postgres_accounts import PostgresAccountStore
from shared.storage.postgres_ecgs import PostgresEcgStore
from shared.storage.postgres_logins import PostgresLoginStore
from shared.storage.postgres_outbox import PostgresOutbox
from shared.storage.postgres_owned_ecgs import PostgresOwnedEcgs
from shared.storage.postgres_recordings import PostgresRecordingStore
from shared.storage.schema import check_schema
from shared.telemetry import configure_logs

if TYPE_CHECKING:
    import asyncio


async def serve(told_to_leave: asyncio.Event) -> None:
    """Run the gateway until told to leave."""
    settings = read_settings(GatewaySettings)
    configure_logs("gateway", settings.log_level)
    async with (
        open_database(
            settings.database_url.get_secret_value(), max_connections=settings.database_connections
        ) as database,
        open_rabbitmq_publisher(
            settings.amqp_url.get_secret_value(), topology=Topology(settings.amqp_namespace)
        ) as publisher,
        open_gateway(
            settings,
            token_key=settings.token_key.get_secret_value(),
            store=PostgresEcgStore(database),
            recordings=PostgresRecordingStore(database),
            owned_ecgs=PostgresOwnedEcgs(database),
            outbox=PostgresOutbox(database),
            accounts=PostgresAccountStore(database),
            logins=PostgresLoginStore(database),
            publisher=publisher,
            checks={
                "process": partial(check_staying, told_to_leave),
                "schema": partial(check_schema, database),
            },
        ),
    ):
        await told_to_leave.wait()


def main() -> int:
    """Run until told to leave; the exit status."""
    return run_until_told(serve)


if __name__ == "__main__":
    sys.exit(main())
