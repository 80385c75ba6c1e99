"""The command line: ``isoline ...``."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sys
from typing import Annotated, Final
from urllib.parse import urlsplit

import typer

import gateway.__main__
import processor.__main__
from isoline import client
from isoline.cli import bench, configuration, doctor, ecgs, events, openapi, tour, webhooks
from isoline.cli.accounts import account_administration, api_key_commands, keys, user_commands
from isoline.cli.operators import dead_letters, ops, prune, replay, send_events, trace
from isoline.cli.servers import database, topology
from isoline.embedded import background
from isoline.embedded.all_in_one import serve
from isoline.embedded.state import read_state
from isoline.health_probe import DEFAULT_URL, probe
from shared.domain.errors import ConfigurationError, IsolineError, UnavailableError
from shared.runtime.process import EXIT_CONFIGURATION, run_until_signal
from shared.runtime.settings import DatabaseSettings, EmbeddedSettings, read_settings
from shared.storage.schema import migrations
from shared.storage.schema.compatibility import NEWEST_SCHEMA

_EXIT_FAILED: Final = 1
_EXIT_NOT_RUNNING: Final = 3  # as service managers expect of `status`
# Of a write to standard output; an error of a file has its name.
_UNWRITABLE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF, errno.EPIPE})

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(user_commands.app, name="user")
app.add_typer(api_key_commands.app, name="api-key")
app.add_typer(keys.app, name="keys")
app.add_typer(database.app, name="db")
app.add_typer(topology.app, name="topology")
ecgs.register(app)
events.register(app)
send_events.register()
webhooks.register(app)
app.add_typer(openapi.app, name="openapi")
ops.register(app)
dead_letters.register(app)
replay.register(app)
trace.register(app)
prune.register(app)
bench.register(app)
app.command("gateway")(gateway.__main__.main)
app.command("processor")(processor.__main__.main)
app.command("config")(configuration.show_configuration)
app.command("doctor")(doctor.diagnose_installation)


@app.command("embedded")
def run_embedded() -> None:
    """Run everything in one process, in the foreground: for a developer's machine."""
    sys.exit(run_until_signal(serve))


@app.command()
def migrate(
    *,
    to: Annotated[
        str | None, typer.Option(help="Another schema than the newest, such as 0008; back, too.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even if processes run that do not work with that schema.")
    ] = False,
) -> None:
    """Bring the schema at ISOLINE_DATABASE_URL up to date, or to another; harmless when it is there.

    Refuses what processes that run now do not work with, and a way back that would lose something.
    """
    url = read_settings(DatabaseSettings).database_url.get_secret_value()
    name = asyncio.run(migrations.migrate(url, to=_schema_number(to), force=force))
    typer.echo(f"The schema is {name}.")


@app.command()
def up() -> None:
    """Start the embedded mode in the background, submit a real ECG and show what is found in it."""
    settings = read_settings(EmbeddedSettings)
    state = background.start(settings.var)
    if state.is_local:
        asyncio.run(tour.show_tour(state))
    else:
        typer.echo(
            f"Isoline listens at {state.address}, where other machines can reach it, without demo accounts.\n"
            "Go on with isoline create-admin and isoline user create NAME."
        )
    running = urlsplit(state.address)
    if running.hostname != settings.host.lower() or settings.port not in {0, running.port}:
        typer.echo(f"It ran already; to move it to {settings.host}, port {settings.port}, stop it first.")


@app.command()
def down() -> None:
    """Stop the embedded mode; running work is finished first."""
    was_running = background.stop(read_settings(EmbeddedSettings).var)
    typer.echo("Isoline has stopped." if was_running else "Isoline is not running.")


@app.command()
def status() -> None:
    """Say whether the embedded mode runs, and where."""
    state = read_state(read_settings(EmbeddedSettings).var)
    if state is None:
        typer.echo("Isoline is not running.")
        raise typer.Exit(_EXIT_NOT_RUNNING)
    typer.echo(f"Isoline runs at {state.address} (process {state.pid}, database {state.database_url}).")


@app.command()
def health(url: Annotated[str, typer.Argument()] = DEFAULT_URL) -> None:
    """Ask a service whether it is ready; exit status 0 when it is, else 1."""
    is_ready, response = probe(url)
    typer.echo(response)
    raise typer.Exit(0 if is_ready else _EXIT_FAILED)


@app.command("create-admin")
def create_admin(name: Annotated[str, typer.Option(help="The account's name.")] = "admin") -> None:
    """Create an administrator: admin/admin in the embedded mode on loopback, else as user create does."""
    typer.echo(asyncio.run(account_administration.create_first_admin(name)))


def main() -> None:
    """Run the command line; an error of ours is one sentence and a non-zero exit status."""
    # Services configure their logs; a command prints one sentence and logs nothing.
    logging.basicConfig(handlers=[logging.NullHandler()])
    try:
        _run()
    except (ConfigurationError, client.UrlError) as error:
        typer.echo(str(error), err=True)
        sys.exit(EXIT_CONFIGURATION)
    except UnavailableError as error:
        typer.echo(str(error), err=True)
        sys.exit(EXIT_CONFIGURATION if error.needs_operator else _EXIT_FAILED)
    except (IsolineError, client.IsolineError) as error:
        typer.echo(str(error), err=True)
        sys.exit(_EXIT_FAILED)
    except OSError as error:
        typer.echo(_unwritable(error), err=True)
        sys.exit(_EXIT_FAILED)


def _run() -> None:
    """Run the command, and write all that it printed."""
    try:
        app()
    finally:
        sys.stdout.flush()


def _unwritable(error: OSError) -> str:
    """What to say of output that can't be written, for which nothing more is tried.

    Raises:
        OSError: It is another error.
    """
    if error.filename is not None:
        return f"can't use {error.filename}: {error.strerror}"
    if error.errno not in _UNWRITABLE:
        raise error
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would try again when it ends
    return (
        f"The output can't be written: {error.strerror}. What the command did stays done; "
        "a password or a key that was made and not shown can be replaced."
    )


def _schema_number(name: str | None) -> int | None:
    """The number of a schema that is named as 9, 0009 or 0009_compatibility."""
    if name is None:
        return None
    number, _, _ = name.partition("_")
    if not (number.isascii() and number.isdecimal()):
        raise ConfigurationError(
            f"--to wants the number of a schema, such as {NEWEST_SCHEMA:04}, not {name!r}"
        )
    return int(number)
