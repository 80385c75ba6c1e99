"""``isoline submit | get | list | delete``: ECGs from the command line, over the public HTTP interface."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import orjson
import typer
from rich.console import Console
from rich.progress import Progress

from isoline.cli.ecg_tables import failures_table, list_table, results_table
from isoline.client import RefusedError, UnavailableError, open_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from isoline.client import Client, Result, Summary

_EXIT_FAILED: Final = 1
_AT_A_TIME: Final = 8
_STDIN: Final = "-"


class Format(StrEnum):
    """How to print: a table for people, a line of JSON per ECG for programs."""

    TABLE = "table"
    JSON = "json"


class StatusOption(StrEnum):
    """Of which status."""

    QUEUED = "queued"
    COMPLETED = "completed"
    FAILED = "failed"


class _Outcome(NamedTuple):
    """The outcome for a file: a result or an error, never both."""

    file: str
    result: Result | None = None
    error: str | None = None

    @property
    def is_good(self) -> bool:
        return self.result is not None and self.result.status != "failed"


Url = Annotated[
    str,
    typer.Option(
        envvar="ISOLINE_URL", help="Where the gateway is, with the path below which a proxy has it."
    ),
]
User = Annotated[
    str, typer.Option(envvar="ISOLINE_USER", help="Who you are; the password is taken from ISOLINE_PASSWORD.")
]
_Format = Annotated[Format, typer.Option("--format", help="A table, or a line of JSON per ECG.")]
_Timeout = Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait for a result.")]

# The embedded mode's demo account.
DEFAULT_URL: Final = f"http://127.0.0.1:{os.environ.get('ISOLINE_PORT') or 8080}"
DEFAULT_USER: Final = "demo"
_DEFAULT_PASSWORD: Final = "demo"  # noqa: S105 - a published one, usable from this machine only


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command("submit")(_submit)
    app.command("get")(_get)
    app.command("list")(_list)
    app.command("delete")(_delete)


def _submit(
    files: Annotated[list[str], typer.Argument(help="Files of one ECG each, as JSON; - for standard input.")],
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until each is completed or failed.")] = False,
    timeout_s: _Timeout = 60.0,
    format_: _Format = Format.TABLE,
    url: Url = DEFAULT_URL,
    user: User = DEFAULT_USER,
) -> None:
    """Submit ECGs; the exit status is 1 if one of them is refused or fails."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("Submitting", total=len(files))
        outcomes = asyncio.run(
            _submit_files(url, user, files, partial(progress.advance, task), timeout_s if wait else None)
        )
    _show_outcomes(outcomes, format_)
    raise typer.Exit(0 if all(outcome.is_good for outcome in outcomes) else _EXIT_FAILED)


def _get(
    ecg_id: Annotated[str, typer.Argument(metavar="ID")],
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is completed or failed.")] = False,
    timeout_s: _Timeout = 60.0,
    format_: _Format = Format.TABLE,
    url: Url = DEFAULT_URL,
    user: User = DEFAULT_USER,
) -> None:
    """Show where an ECG stands and what was found in it."""

    async def ask() -> Result:
        async with client_of(url, user) as client:
            return await (client.wait(ecg_id, timeout_s=timeout_s) if wait else client.get(ecg_id))

    result = asyncio.run(ask())
    if format_ is Format.JSON:
        _print_json(result.document)
    else:
        Console().print(results_table([result]))
    raise typer.Exit(_EXIT_FAILED if result.status == "failed" else 0)


def _list(
    *,
    status: Annotated[StatusOption | None, typer.Option(help="Only ECGs of this status.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="So many at the most.")] = 100,
    format_: _Format = Format.TABLE,
    url: Url = DEFAULT_URL,
    user: User = DEFAULT_USER,
) -> None:
    """List your ECGs, newest first."""
    ecgs = asyncio.run(_fetch_summaries(url, user, status, limit))
    if format_ is Format.JSON:
        for ecg in ecgs:
            _print_json(ecg.document)
    else:
        Console().print(list_table(ecgs))


def _delete(
    ecg_id: Annotated[str, typer.Argument(metavar="ID")],
    *,
    url: Url = DEFAULT_URL,
    user: User = DEFAULT_USER,
) -> None:
    """Erase an ECG with all that was found in it."""

    async def ask() -> bool:
        async with client_of(url, user) as client:
            return await client.delete(ecg_id)

    if not asyncio.run(ask()):
        typer.echo("You have no ECG of this id.", err=True)
        raise typer.Exit(_EXIT_FAILED)
    typer.echo(f"ECG {ecg_id} is erased.")


@asynccontextmanager
async def client_of(url: str, user: str) -> AsyncIterator[Client]:
    """Yield a client of this gateway as this user, with the password of the environment."""
    password = os.environ.get("ISOLINE_PASSWORD") or _DEFAULT_PASSWORD
    async with open_client(url, user=user, password=password, retry_for_s=30.0) as client:
        yield client


async def _submit_files(
    url: str, user: str, files: Sequence[str], advance: partial[None], wait_s: float | None
) -> list[_Outcome]:
    semaphore = asyncio.Semaphore(_AT_A_TIME)

    async def submit(file: str, client: Client) -> _Outcome:
        async with semaphore:
            outcome = await _outcome(file, client, wait_s)
        advance()
        return outcome

    async with client_of(url, user) as client:
        return await asyncio.gather(*(submit(file, client) for file in files))


async def _outcome(file: str, client: Client, wait_s: float | None) -> _Outcome:
    shown = file.encode(errors="backslashreplace").decode()  # a file name may not be valid text
    try:
        body = await asyncio.to_thread(_read, file)
        if wait_s is None:
            return _Outcome(shown, await client.submit(body))
        return _Outcome(shown, await client.submit_and_wait(body, timeout_s=wait_s))
    except OSError as error:
        return _Outcome(shown, error=f"can't be read: {error.strerror}")
    except (RefusedError, UnavailableError) as error:
        return _Outcome(shown, error=str(error))


def _read(file: str) -> bytes:
    return sys.stdin.buffer.read() if file == _STDIN else Path(file).read_bytes()


async def _fetch_summaries(url: str, user: str, status: StatusOption | None, limit: int) -> list[Summary]:
    ecgs: list[Summary] = []
    async with client_of(url, user) as client:
        async for ecg in client.list(status=status.value if status else None):
            ecgs.append(ecg)
            if len(ecgs) == limit:
                break
    return ecgs


def _show_outcomes(outcomes: Sequence[_Outcome], format_: Format) -> None:
    if format_ is Format.JSON:
        for outcome in outcomes:
            document = outcome.result.document if outcome.result else {"error": outcome.error}
            _print_json({"file": outcome.file, **document})
        return
    results = [outcome.result for outcome in outcomes if outcome.result]
    errors = {outcome.file: outcome.error for outcome in outcomes if outcome.error}
    if results:
        Console().print(results_table(results))
    if errors:
        Console(stderr=True).print(failures_table(errors))


def _print_json(document: Mapping[str, object]) -> None:
    typer.echo(orjson.dumps(document).decode())
