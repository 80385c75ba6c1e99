"""What operators do by hand: dead letters and replay, each with a reason that is kept."""

from __future__ import annotations

import asyncio
import getpass
import os
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from shared.broker.rabbitmq_dead_letters import DeadLetter, Fate, open_dead_letters
from shared.broker.topology import Topology
from shared.domain.errors import ConfigurationError, NotFoundError
from shared.settings import BrokerSettings, DatabaseSettings, read_settings
from shared.storage.postgres import open_database
from shared.storage.postgres_operations import PostgresOperations, Reason, Selection
from shared.storage.schema import check_schema, connection_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from shared.broker.rabbitmq_dead_letters import Decide

_SHOWN_CHARACTERS: Final = 60

_T = TypeVar("_T")

dlq = typer.Typer(no_args_is_help=True, help="The dead letters: what could not be read, or ended processes.")

Names = Annotated[list[str] | None, typer.Argument(help="The letters' names, as `list` shows them.")]
All = Annotated[bool, typer.Option("--all", help="All that are there now.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Why = Annotated[str, typer.Option("--why", help="The reason, which is kept with your name.")]
Who = Annotated[str | None, typer.Option("--who", help="Your name, if it is not your login's.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(dlq, name="dlq")
    app.command()(replay)


@dlq.command("list")
def list_letters() -> None:
    """Show every dead letter: name, why it is here, how it begins."""
    letters = asyncio.run(_go_through(lambda _: Fate.KEEP))
    for letter in letters:
        start = letter.body[:_SHOWN_CHARACTERS].decode(errors="replace")
        typer.echo(f"{letter.name}  {letter.reason:<14}  {len(letter.body):>7} bytes  {start!r}")
    typer.echo(f"{len(letters)} dead letters.")


@dlq.command("show")
def show_letter(name: str) -> None:
    """Show one dead letter whole."""
    for letter in asyncio.run(_go_through(lambda _: Fate.KEEP)):
        if letter.name == name:
            typer.echo(letter.body.decode(errors="replace"))
            return
    raise NotFoundError(f"There is no dead letter {name}.")


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
    _decide(Fate.REPLAY, names or [], every=every, dry_run=dry_run, yes=yes, reason=_reason(who, why))


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
    _decide(Fate.DROP, names or [], every=every, dry_run=dry_run, yes=yes, reason=_reason(who, why))


def replay(
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
    count = asyncio.run(_operate(lambda operations: operations.count(selection)))
    if _is_confirmed(f"{count} ECGs will be analysed again", dry_run=dry_run, yes=yes):
        reason = _reason(who, why)
        replayed = asyncio.run(_operate(lambda operations: operations.replay(selection, reason)))
        typer.echo(f"{len(replayed)} ECGs are queued again; the relay tells the processors.")


def _decide(
    fate: Fate, names: Collection[str], *, every: bool, dry_run: bool, yes: bool, reason: Reason
) -> None:
    if bool(names) == every:
        raise ConfigurationError("name the letters, or say --all")
    present = {letter.name for letter in asyncio.run(_go_through(lambda _: Fate.KEEP))}
    chosen = present if every else set(names)
    if unknown := sorted(chosen - present):
        raise NotFoundError(f"There is no dead letter {', '.join(unknown)}.")
    verb = fate.name.lower()
    if _is_confirmed(f"{verb} {len(chosen)} dead letters", dry_run=dry_run, yes=yes):
        record = partial(PostgresOperations.record, what=f"dlq {verb}", subject=sorted(chosen), reason=reason)
        asyncio.run(_operate(record))
        asyncio.run(_go_through(lambda letter: fate if letter.name in chosen else Fate.KEEP))
        typer.echo(f"{verb}: {len(chosen)} dead letters.")


def _is_confirmed(what: str, *, dry_run: bool, yes: bool) -> bool:
    if dry_run:
        typer.echo(f"{what} (nothing was done)")
        return False
    return yes or typer.confirm(f"{what}?", abort=True)


def _reason(who: str | None, why: str) -> Reason:
    return Reason(who or os.environ.get("SUDO_USER") or getpass.getuser(), why)


async def _go_through(decide: Decide) -> list[DeadLetter]:
    settings = read_settings(BrokerSettings)
    topology = Topology(settings.amqp_namespace)
    async with open_dead_letters(settings.amqp_url.get_secret_value(), topology=topology) as letters:
        return await letters.go_through(decide)


async def _operate(act: Callable[[PostgresOperations], Awaitable[_T]]) -> _T:
    settings = read_settings(DatabaseSettings)
    url = settings.database_url.get_secret_value()
    async with open_database(url, name=connection_name("command")) as database:
        await check_schema(database)
        return await act(PostgresOperations(database))
