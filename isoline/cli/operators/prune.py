"""The command that erases ECGs which were finished long ago."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from isoline.cli.command_database import open_command_database
from isoline.cli.operators.confirmation import DryRun, Who, Why, Yes, audit_note, is_confirmed
from shared.domain.errors import ConfigurationError
from shared.retention import count_prunable, prune
from shared.runtime.settings import RetentionSettings, read_settings
from shared.storage.postgres.operators.operations import PostgresOperations
from shared.storage.postgres.operators.retention import PostgresRetention

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from shared.ports.operators.operations import AuditNote, Operations
    from shared.ports.operators.retention import Retention

_UNITS: Final = {"h": "hours", "d": "days", "w": "weeks"}
_TOLD_EVERY: Final = 100_000


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command("prune")(prune_ecgs)


def _age(text: str) -> timedelta:
    found = re.fullmatch(r"([1-9][0-9]{0,5})([hdw])", text)
    if found is None:
        raise typer.BadParameter("expected a number and a unit: 36h, 90d, 12w")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def prune_ecgs(
    *,
    why: Why,
    older_than: Annotated[
        timedelta | None,
        typer.Option(
            parser=_age,
            metavar="AGE",
            help="How long ago they were finished: 36h, 90d, 12w; ISOLINE_RETENTION_DAYS by default.",
        ),
    ] = None,
    rate: Annotated[
        int | None, typer.Option(min=1, help="ECGs a second; ISOLINE_RETENTION_ECGS_PER_S by default.")
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    who: Who = None,
) -> None:
    """Erase ECGs that were finished long ago, with their signals and results; nothing is published.

    It may be stopped at any time and run again, also while others run it.
    """
    settings = read_settings(RetentionSettings)
    age = older_than or settings.retention_period
    if age is None:
        raise ConfigurationError("say how old, as in --older-than 90d, or set ISOLINE_RETENTION_DAYS")
    finished_before = asyncio.run(_finished_before(age))
    question = f"ECGs that were finished before {finished_before:%Y-%m-%d %H:%M:%S} UTC will be erased"
    if dry_run or not yes:
        question = f"{asyncio.run(_count(finished_before))} {question}"
    if is_confirmed(question, dry_run=dry_run, yes=yes):
        note = audit_note(who, why)
        count = asyncio.run(_prune(finished_before, note, ecgs_per_s=rate or settings.retention_ecgs_per_s))
        typer.echo(f"{count} ECGs were erased.")


async def _finished_before(age: timedelta) -> datetime:
    async with _open_ports() as (retention, _):
        return await retention.now() - age


async def _count(finished_before: datetime) -> int:
    async with _open_ports() as (retention, _):
        return await count_prunable(finished_before, retention=retention)


async def _prune(finished_before: datetime, note: AuditNote, *, ecgs_per_s: int) -> int:
    async with _open_ports() as (retention, operations):
        return await prune(
            finished_before,
            note,
            ecgs_per_s=ecgs_per_s,
            retention=retention,
            operations=operations,
            on_page=_progress_teller(),
        )


def _progress_teller() -> Callable[[int], None]:
    """What prints how many were erased, now and then."""
    told = 0

    def tell(ecgs: int) -> None:
        nonlocal told
        if ecgs - told >= _TOLD_EVERY:
            told = ecgs
            typer.echo(f"{ecgs} ...")

    return tell


@asynccontextmanager
async def _open_ports() -> AsyncIterator[tuple[Retention, Operations]]:
    async with open_command_database() as database:
        yield PostgresRetention(database), PostgresOperations(database)
