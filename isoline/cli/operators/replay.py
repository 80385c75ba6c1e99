"""``isoline replay``: have finished ECGs analysed once more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

from isoline.cli.command_database import open_command_database
from isoline.cli.operators.confirmation import DryRun, Who, Why, Yes, audit_note, is_confirmed
from isoline.cli.operators.selection import EcgId, Failed, Owner, Reason, Since, Until, read_selection
from shared.operations.replay import replay
from shared.storage.postgres.operators.operations import PostgresOperations

if TYPE_CHECKING:
    from shared.events import EcgKey
    from shared.ports.operators.operations import AuditNote, Selection


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command("replay")(replay_ecgs)


def replay_ecgs(
    *,
    why: Why,
    ecg_id: EcgId = None,
    owner: Owner = None,
    failed: Failed = False,
    reason: Reason = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    who: Who = None,
) -> None:
    """Have finished ECGs analysed once more, in their next generation."""
    selection = read_selection(
        ecg_id=ecg_id, owner=owner, failed=failed, reason=reason, since=since, until=until
    )
    count = asyncio.run(_count(selection))
    if is_confirmed(f"{count} ECGs will be analysed again", dry_run=dry_run, yes=yes):
        replayed = asyncio.run(_replay(selection, audit_note(who, why)))
        typer.echo(f"{len(replayed)} ECGs are queued again; the relay tells the processors.")


async def _count(selection: Selection) -> int:
    async with open_command_database() as database:
        return await PostgresOperations(database).count(selection)


async def _replay(selection: Selection, note: AuditNote) -> list[EcgKey]:
    async with open_command_database() as database:
        return await replay(selection, note, operations=PostgresOperations(database))
