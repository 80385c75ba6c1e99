"""``isoline dlq ...``: dead letters, listed, replayed and dropped."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from isoline.cli.command_database import open_command_database
from isoline.cli.operators.confirmation import DryRun, Who, Why, Yes, audit_note, is_confirmed
from shared.broker.rabbitmq.dead_letters import open_dead_letters
from shared.broker.topology import Topology
from shared.domain.errors import ConfigurationError
from shared.operations.dead_letters import find_dead_letters, settle_dead_letters
from shared.ports.operators.dead_letters import Decision
from shared.runtime.settings import BrokerSettings, DatabaseSettings, read_settings
from shared.storage.postgres.operators.operations import PostgresOperations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from contextlib import AbstractAsyncContextManager

    from shared.ports.operators.dead_letters import DeadLetter, DeadLetters
    from shared.ports.operators.operations import AuditNote, Operations

_SHOWN_CHARACTERS: Final = 60

dlq = typer.Typer(no_args_is_help=True, help="The dead letters: what could not be read, or ended processes.")

Names = Annotated[list[str] | None, typer.Argument(help="The letters' names, as `list` shows them.")]
All = Annotated[bool, typer.Option("--all", help="All that are there now.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(dlq, name="dlq")


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


def _open_letters() -> AbstractAsyncContextManager[DeadLetters]:
    settings = read_settings(BrokerSettings)
    return open_dead_letters(settings.amqp_url.get_secret_value(), topology=Topology(settings.amqp_namespace))


@asynccontextmanager
async def _open_operations() -> AsyncIterator[Operations]:
    # What was done to letters of real servers is not recorded in the embedded mode's database.
    read_settings(DatabaseSettings)
    async with open_command_database() as database:
        yield PostgresOperations(database)
