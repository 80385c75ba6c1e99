"""What every command of operators that changes something asks for: a reason, a name, a confirmation."""

from __future__ import annotations

import getpass
import os
from typing import Annotated

import typer

from shared.ports.operators.operations import AuditNote

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def _check_not_blank(why: str) -> str:
    if not why.strip():
        raise typer.BadParameter("it is empty")
    return why


Why = Annotated[
    str, typer.Option("--why", callback=_check_not_blank, help="The reason, which is kept with your name.")
]
Who = Annotated[str | None, typer.Option("--who", help="Your name, if it is not your login's.")]


def is_confirmed(what: str, *, dry_run: bool, yes: bool) -> bool:
    """Whether to go on: asked unless ``yes``, and never in a dry run. A refusal ends the command."""
    if dry_run:
        typer.echo(f"{what} (nothing was done)")
        return False
    return yes or typer.confirm(f"{what}?", abort=True)


def audit_note(who: str | None, why: str) -> AuditNote:
    """The reason with this name, or that of the login."""
    return AuditNote(who or os.environ.get("SUDO_USER") or getpass.getuser(), why)
