"""Commands of operators: each asks for confirmation, calls a use case of `shared.operations`, and prints."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from isoline.cli.command_database import open_command_database
from isoline.cli.operators.confirmation import DryRun, Who, Why, Yes, audit_note, is_confirmed
from shared.broker.rabbitmq.dead_letters import open_dead_letters
from shared.broker.topology import Topology
from shared.domain.errors import ConfigurationError
from shared.operations.dead_letters import find_dead_letters, settle_dead_letters
from shared.operations.replay import replay
from shared.ports.operators.dead_letters import Decision
from shared.ports.operators.operations import Selection
from shared.runtime.settings import BrokerSettings, DatabaseSettings, read_settings
from shared.storage.pool.database import open_database
from shared.storage.postgres.operators.backlog import PostgresBacklogReader
from shared.storage.postgres.operators.operations import PostgresOperations
from shared.storage.postgres.operators.processes import PostgresProcesses
from shared.storage.schema.compatibility import check_schema, connection_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence
    from contextlib import AbstractAsyncContextManager

    from shared.events import EcgKey
    from shared.ports.operators.backlog import BacklogState
    from shared.ports.operators.dead_letters import DeadLetter, DeadLetters
    from shared.ports.operators.operations import AuditNote, Operations
    from shared.ports.operators.processes import RunningProcess

_SHOWN_CHARACTERS: Final = 60
# A process says every 5 s that it is there.
_SILENT_AFTER_S: Final = 20.0

ops = typer.Typer(no_args_is_help=True, help="What runs, and what waits.")
dlq = typer.Typer(no_args_is_help=True, help="The dead letters: what could not be read, or ended processes.")

Names = Annotated[list[str] | None, typer.Argument(help="The letters' names, as `list` shows them.")]
All = Annotated[bool, typer.Option("--all", help="All that are there now.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(ops, name="ops")
    app.add_typer(dlq, name="dlq")
    app.command("replay")(replay_ecgs)


@ops.command("processes")
def list_processes() -> None:
    """Show every gateway and processor that was seen in the last hour, and what each holds."""
    for process in asyncio.run(_running_processes()):
        typer.echo(_process_line(process))


@ops.command("backlog")
def show_backlog() -> None:
    """Show how many ECGs and event batches wait, and for how long the oldest have."""
    backlog = asyncio.run(_read_backlog())
    typer.echo(f"{backlog.queued_ecgs} ECGs wait, the oldest for {backlog.oldest_ecg_s:.0f} s.")
    typer.echo(
        f"{backlog.unpublished_batches} event batches wait, the oldest for {backlog.oldest_batch_s:.0f} s."
    )


@dlq.command("list")
def list_letters() -> None:
    """Show every dead letter: name, why it is here, how it begins."""
    letters = _find()
    for letter in letters:
        start = letter.body[:_SHOWN_CHARACTERS].decode(errors="replace")
        typer.echo(f"{letter.name}  {letter.reason:<14}  {len(letter.body):>7} bytes  {start!r}")
    typer.echo(f"{len(letters)} dead letters.")


@dlq.command("show")
def show_letter(name: str) -> None:
    """Show one dead letter whole."""
    typer.echo(_find([name])[0].body.decode(errors="replace"))


@dlq.command("replay")
def replay_letters(
    *,
    why: Why,
    names: Names = None,
    every: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    who: Who = None,
) -> None:
    """Send dead letters to the processors again."""
    _settle(Decision.REPLAY, names or [], every=every, dry_run=dry_run, yes=yes, note=audit_note(who, why))


@dlq.command("drop")
def drop_letters(
    *,
    why: Why,
    names: Names = None,
    every: All = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    who: Who = None,
) -> None:
    """Delete dead letters for good."""
    _settle(Decision.DROP, names or [], every=every, dry_run=dry_run, yes=yes, note=audit_note(who, why))


def replay_ecgs(
    *,
    why: Why,
    ecg_id: Annotated[str | None, typer.Option("--id", help="The ECG's id.")] = None,
    owner: Annotated[str | None, typer.Option(help="Whose.")] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only what failed.")] = False,
    since: Annotated[datetime | None, typer.Option(help="Only what was finished since, UTC.")] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    who: Who = None,
) -> None:
    """Have finished ECGs analysed once more, in their next generation."""
    if not (ecg_id or owner or failed or since):
        raise ConfigurationError("say which: --id, --owner, --failed, --since, or several of them")
    aware = since.replace(tzinfo=since.tzinfo or UTC) if since else None
    selection = Selection(id=ecg_id, owner=owner, failed=failed, since=aware)
    count = asyncio.run(_count(selection))
    if is_confirmed(f"{count} ECGs will be analysed again", dry_run=dry_run, yes=yes):
        replayed = asyncio.run(_replay(selection, audit_note(who, why)))
        typer.echo(f"{len(replayed)} ECGs are queued again; the relay tells the processors.")


def _settle(
    decision: Decision, names: Collection[str], *, every: bool, dry_run: bool, yes: bool, note: AuditNote
) -> None:
    if bool(names) == every:
        raise ConfigurationError("name the letters, or say --all")
    chosen = {letter.name for letter in _find(names)}
    verb = decision.name.lower()
    if is_confirmed(f"{verb} {len(chosen)} dead letters", dry_run=dry_run, yes=yes):
        asyncio.run(_settle_chosen(chosen, decision, note))
        typer.echo(f"{verb}: {len(chosen)} dead letters.")


def _find(names: Collection[str] = ()) -> list[DeadLetter]:
    async def find() -> list[DeadLetter]:
        async with _open_letters() as letters:
            return await find_dead_letters(names, letters=letters)

    return asyncio.run(find())


async def _settle_chosen(names: Collection[str], decision: Decision, note: AuditNote) -> None:
    async with _open_operations() as operations, _open_letters() as letters:
        await settle_dead_letters(names, decision, note, letters=letters, operations=operations)


async def _count(selection: Selection) -> int:
    async with _open_operations() as operations:
        return await operations.count(selection)


async def _replay(selection: Selection, note: AuditNote) -> list[EcgKey]:
    async with _open_operations() as operations:
        return await replay(selection, note, operations=operations)


async def _running_processes() -> Sequence[RunningProcess]:
    async with open_command_database() as database:
        return await PostgresProcesses(database).running()


def _process_line(process: RunningProcess) -> str:
    presence = process.presence
    state = "draining" if presence.is_draining else "working"
    held = "" if presence.held_ecgs is None else f", holds {presence.held_ecgs} ECGs"
    if process.ended_at is not None:
        state, held = f"ended at {process.ended_at:%H:%M:%S}", ""
    elif process.seen_s > _SILENT_AFTER_S:
        state = f"silent for {process.seen_s:.0f} s"
    name = f"{presence.service}/{presence.worker} on {presence.host}"
    return f"{name}  {presence.release}  since {process.started_at:%Y-%m-%d %H:%M:%S}  {state}{held}"


async def _read_backlog() -> BacklogState:
    async with open_command_database() as database:
        return await PostgresBacklogReader(database).read()


def _open_letters() -> AbstractAsyncContextManager[DeadLetters]:
    settings = read_settings(BrokerSettings)
    return open_dead_letters(settings.amqp_url.get_secret_value(), topology=Topology(settings.amqp_namespace))


@asynccontextmanager
async def _open_operations() -> AsyncIterator[Operations]:
    url = read_settings(DatabaseSettings).database_url.get_secret_value()
    async with open_database(url, name=connection_name("command")) as database:
        await check_schema(database)
        yield PostgresOperations(database)
