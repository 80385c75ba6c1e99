"""``isoline events ...``: what happened to ECGs, over the public HTTP interface."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import orjson
import typer

from isoline.cli.ecgs import DEFAULT_URL, DEFAULT_USER, Url, User, client_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LOOK_EVERY_S: Final = 1.0
_LATEST: Final = "latest"

events = typer.Typer(
    no_args_is_help=True, help="What happened to your ECGs; for a subscriber, to those of all."
)


class TypeOption(StrEnum):
    """What happened."""

    PROCESSED = "ecg.processed"
    FAILED = "ecg.failed"
    DELETED = "ecg.deleted"


_Types = Annotated[list[TypeOption] | None, typer.Option("--type", help="Only these; may be repeated.")]
_After = Annotated[str | None, typer.Option(help="Only what followed this cursor.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(events, name="events")


@events.command("list")
def list_events(
    *,
    after: _After = None,
    since: Annotated[str | None, typer.Option(help="Nothing logged before this time, UTC.")] = None,
    types: _Types = None,
    url: Url = DEFAULT_URL,
    user: User = DEFAULT_USER,
) -> None:
    """Print what happened, oldest first, a line of JSON for each event; and the cursor, to standard error."""
    cursor = asyncio.run(_print_all(url, user, after, since, types or []))
    typer.echo(cursor, err=True)


@events.command("tail")
def tail_events(
    *,
    after: _After = _LATEST,
    types: _Types = None,
    url: Url = DEFAULT_URL,
    user: User = DEFAULT_USER,
) -> None:
    """Print what happens, as it happens, until interrupted."""
    asyncio.run(_follow(url, user, after, types or []))


async def _print_all(
    url: str, user: str, after: str | None, since: str | None, types: Sequence[TypeOption]
) -> str:
    async with client_of(url, user) as client:
        while True:
            page = await client.events(after=after, since=since, types=types)
            _print(page.events)
            if not page.has_more:
                return page.cursor
            after, since = page.cursor, None


async def _follow(url: str, user: str, after: str | None, types: Sequence[TypeOption]) -> None:
    async with client_of(url, user) as client:
        while True:
            page = await client.events(after=after, types=types)
            _print(page.events)
            after = page.cursor
            if not page.has_more:
                await asyncio.sleep(_LOOK_EVERY_S)


def _print(documents: Sequence[Mapping[str, object]]) -> None:
    for document in documents:
        typer.echo(orjson.dumps(document))
