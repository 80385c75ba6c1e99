"""The filter of finished ECGs, in the words that the operations API and its page use too."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from shared.domain.errors import ConfigurationError
from shared.ports.operators.operations import Selection

EcgId = Annotated[str | None, typer.Option("--id", help="The ECG's id.")]
Owner = Annotated[str | None, typer.Option(help="Whose.")]
Failed = Annotated[bool, typer.Option("--failed", help="Only what failed.")]
Reason = Annotated[
    str | None, typer.Option(help="Only what failed for this reason, as `isoline ops failed` words it.")
]
Since = Annotated[datetime | None, typer.Option(help="Only what was finished then or later, UTC.")]
Until = Annotated[datetime | None, typer.Option(help="Only what was finished earlier, UTC.")]


def read_selection(
    *,
    ecg_id: str | None,
    owner: str | None,
    failed: bool,
    reason: str | None,
    since: datetime | None,
    until: datetime | None,
) -> Selection:
    """The ECGs that a command is about.

    Raises:
        ConfigurationError: It would be all of them.
    """
    selection = Selection(
        id=ecg_id, owner=owner, failed=failed, reason=reason, since=in_utc(since), until=in_utc(until)
    )
    if selection.is_empty:
        raise ConfigurationError(
            "say which: --id, --owner, --failed, --reason, --since, --until, or several of them"
        )
    return selection


def in_utc(time: datetime | None) -> datetime | None:
    """A time of an option, in UTC where it names no offset."""
    return time and time.replace(tzinfo=time.tzinfo or UTC)
