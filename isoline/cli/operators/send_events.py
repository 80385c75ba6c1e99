"""``isoline events send``: what happened, once more, for one subscriber."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from isoline.cli.command_database import open_command_database
from isoline.cli.events import TypeOption, events
from isoline.cli.operators.confirmation import DryRun, Who, Why, Yes, audit_note, is_confirmed
from isoline.cli.operators.selection import in_utc
from shared.broker.subscriber_queue import open_subscriber_queue
from shared.events import EventType
from shared.operations.send_events import send_events
from shared.runtime.settings import BrokerSettings, DatabaseSettings, EventSettings, read_settings
from shared.storage.postgres.event_log import PostgresEventLog
from shared.storage.postgres.event_source import PostgresEventSource
from shared.storage.postgres.operators.operations import PostgresOperations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.domain.findings import JsonValue
    from shared.ports.operators.operations import AuditNote

_Since = Annotated[datetime | None, typer.Option(help="Nothing logged before, UTC.")]
_Until = Annotated[datetime | None, typer.Option(help="Nothing that happened then or later, UTC.")]


def register() -> None:
    """Add this command to those of events."""
    events.command("send")(send)


def send(
    *,
    queue: Annotated[str, typer.Option(help="Of the subscriber; it must exist.")],
    why: Why,
    since: _Since = None,
    until: _Until = None,
    types: Annotated[list[TypeOption] | None, typer.Option("--type", help="Only these.")] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    who: Who = None,
) -> None:
    """Put the log's events into one queue, with their first ids; no other queue hears anything.

    Needs a role of PostgreSQL that may read results and record this, as the tables' owner may, and an account
    of RabbitMQ that may write to its default exchange, as an administrator may.
    """
    what = f"events will be put into {queue}"
    if is_confirmed(what, dry_run=dry_run, yes=yes):
        sent = asyncio.run(_send(queue, types or [*TypeOption], since, until, audit_note(who, why)))
        typer.echo(f"{sent} events were put into {queue}.")


async def _send(
    queue: str,
    types: Sequence[TypeOption],
    since: datetime | None,
    until: datetime | None,
    note: AuditNote,
) -> int:
    read_settings(DatabaseSettings)  # the embedded mode has no queues
    url = read_settings(BrokerSettings).amqp_url.get_secret_value()
    source = read_settings(EventSettings).source
    since, until = in_utc(since), in_utc(until)
    times = {"since": since, "until": until}
    named: dict[str, JsonValue] = {name: time.isoformat() for name, time in times.items() if time is not None}
    async with open_command_database() as database, open_subscriber_queue(url, queue) as subscriber_queue:
        log = PostgresEventLog(database, PostgresEventSource(database, source=source))
        subject: dict[str, JsonValue] = {"queue": queue, "types": [*map(str, types)], **named}
        await PostgresOperations(database).record("events send", subject, note)
        return await send_events(
            log=log, queue=subscriber_queue, types=[*map(EventType, types)], since=since, until=until
        )
