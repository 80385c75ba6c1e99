"""``isoline keys ...``: the keys that sign access tokens."""

from __future__ import annotations

import typer

from gateway.auth.signing_keys import new_seed, rotate_keys
from isoline.embedded.all_in_one import KEY_FILE, read_key, write_key
from shared.runtime.settings import EmbeddedSettings, TokenKeySettings, is_set, read_settings

app = typer.Typer(no_args_is_help=True, help="The keys that sign access tokens.")


@app.command("rotate")
def rotate() -> None:
    """Make a new key that signs, and keep the present one until its last token has expired.

    With ISOLINE_TOKEN_KEY set, prints the new value of that setting; else changes the embedded mode's.
    """
    if is_set(TokenKeySettings, "token_key"):
        typer.echo(rotate_keys(read_settings(TokenKeySettings).token_key.get_secret_value()))
        return
    path = read_settings(EmbeddedSettings).var / KEY_FILE
    present = read_key(path)
    write_key(path, new_seed() if present is None else rotate_keys(present))
    typer.echo(f"{path} has a new key; it signs from the next start.")


@app.callback()
def keys() -> None:
    """Keep `rotate` a command of its own though it is the only one."""
