"""``isoline openapi ...``: the contract as a file."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import orjson
import typer

from gateway.app import contract
from shared.runtime.settings import GatewayOnlySettings, read_settings

app = typer.Typer(no_args_is_help=True, help="The HTTP contract, as an OpenAPI document.")


@app.callback()
def _openapi() -> None:
    """Have `export` be a command of its own, of which there may be more."""


@app.command()
def export(
    file: Annotated[
        Path | None, typer.Argument(help="Where to write it; standard output if not given.")
    ] = None,
) -> None:
    """Write the OpenAPI document that a gateway of these settings serves."""
    document = orjson.dumps(contract(read_settings(GatewayOnlySettings)), option=orjson.OPT_INDENT_2).decode()
    if file is None:
        typer.echo(document)
    else:
        file.write_text(f"{document}\n")
