"""``isoline user ...``: accounts, administered directly in the database."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from isoline.cli.accounts import account_administration
from shared.domain.account import Role

app = typer.Typer(no_args_is_help=True, help="Accounts: create, list, change and delete them.")

Name = Annotated[str, typer.Argument(help="The account's name.")]


@app.command("create")
def create(
    name: Name, role: Annotated[list[Role] | None, typer.Option(help="May be repeated.")] = None
) -> None:
    """Create an account; its password is asked for, read from standard input, or made if that is empty."""
    typer.echo(asyncio.run(account_administration.create(name, role or [Role.USER])))


@app.command("list")
def list_() -> None:
    """Show all accounts and their roles."""
    table = Table("account", "roles")
    for account in asyncio.run(account_administration.all_accounts()):
        table.add_row(account.name, ", ".join(sorted(account.roles)))
    Console().print(table)


@app.command("roles")
def roles(name: Name, roles: Annotated[list[Role], typer.Argument(help="All that it is to have.")]) -> None:
    """Give an account other roles; its tokens end."""
    typer.echo(asyncio.run(account_administration.set_roles(name, roles)))


@app.command("password")
def password(name: Name) -> None:
    """Give an account another password, found in the same way; its tokens end."""
    typer.echo(asyncio.run(account_administration.set_password(name)))


@app.command("delete")
def delete(name: Name) -> None:
    """Delete an account for ever; its ECGs stay."""
    typer.echo(asyncio.run(account_administration.delete(name)))
