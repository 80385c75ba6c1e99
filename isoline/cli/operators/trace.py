"""``isoline trace OWNER ID``: what became of one ECG."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from isoline.cli.command_database import open_command_database
from isoline.cli.ecgs import Format
from shared.domain.errors import NotFoundError
from shared.runtime.settings import EventSettings, read_settings
from shared.storage.postgres.event_source import PostgresEventSource
from shared.storage.postgres.operators.timelines import PostgresTimelines

if TYPE_CHECKING:
    from shared.ports.operators.timeline import Moment, Timeline


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command("trace")(trace)


def trace(
    owner: Annotated[str, typer.Argument(help="Whose ECG.")],
    ecg_id: Annotated[str, typer.Argument(metavar="ID", help="Its id.")],
    output_format: Annotated[Format, typer.Option("--format", help="A table or JSON.")] = Format.TABLE,
) -> None:
    """Show what became of one ECG: submitted, tried, replayed, finished, and what is still due."""
    timeline = asyncio.run(_read(owner, ecg_id))
    if timeline is None:
        raise NotFoundError(f"{owner} never submitted an ECG {ecg_id}.")
    if output_format is Format.JSON:
        typer.echo(orjson.dumps(_document(timeline)))
        return
    for moment in timeline.moments:
        typer.echo(_line(moment))
    if timeline.trace_id is not None:
        typer.echo(f"trace {timeline.trace_id}")


async def _read(owner: str, ecg_id: str) -> Timeline | None:
    source = read_settings(EventSettings).source
    async with open_command_database() as database:
        timelines = PostgresTimelines(database, PostgresEventSource(database, source=source))
        return await timelines.read(owner, ecg_id)


def _line(moment: Moment) -> str:
    at = f"{moment.at:%Y-%m-%d %H:%M:%S.%f}"[:-3] if moment.at else ""
    generation = f"generation {moment.generation}: " if moment.generation > 1 else ""
    return f"{at:<23}  {generation}{moment.what}{f', {moment.detail}' if moment.detail else ''}"


def _document(timeline: Timeline) -> dict[str, object]:
    return {
        "trace_id": timeline.trace_id,
        "moments": [moment._asdict() for moment in timeline.moments],
    }
