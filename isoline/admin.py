"""The first administrator, without whom nobody can create accounts."""

from __future__ import annotations

import secrets
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import typer

from gateway.accounts import Passwords, create_account
from isoline.embedded import create_demo_accounts
from isoline.embedded_state import read_state
from isoline.postgres_server import open_postgres_server
from shared.domain.account import Role
from shared.domain.errors import ConfigurationError, ConflictError
from shared.settings import GatewayOnlySettings, read_settings
from shared.storage.postgres import open_database
from shared.storage.postgres_accounts import PostgresAccountStore
from shared.storage.schema import apply_migrations

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_GENERATED_BYTES: Final = 18


async def create_embedded(var: Path) -> str:
    """Make sure of the embedded mode's demo administrator, whether or not it runs; says so."""
    async with _embedded_database(var) as url, open_database(url) as database:
        await create_demo_accounts(PostgresAccountStore(database))
    return "The administrator admin, password admin, exists."


async def create_in_production(name: str, database_url: str) -> str:
    """Create an administrator with a password that is asked for, or generated where nobody can be asked.

    Raises:
        ConfigurationError: The name is taken, or the password too short.
    """
    password, is_generated = _password()
    async with open_database(database_url) as database:
        accounts, passwords = PostgresAccountStore(database), Passwords()
        try:
            await create_account(name, password, [Role.ADMIN], accounts=accounts, passwords=passwords)
        except ConflictError as error:
            raise ConfigurationError(str(error)) from None
    said_once = f" Its password, shown only now: {password}" if is_generated else ""
    return f"The administrator {name} was created.{said_once}"


def _password() -> tuple[str, bool]:
    if not sys.stdin.isatty():
        return secrets.token_urlsafe(_GENERATED_BYTES), True
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    shortest = read_settings(GatewayOnlySettings).password_min_length
    if len(password) < shortest:
        raise ConfigurationError(f"the password needs {shortest} characters or more")
    return password, False


@asynccontextmanager
async def _embedded_database(var: Path) -> AsyncIterator[str]:
    running = read_state(var)
    if running is not None:
        yield running.database_url
        return
    async with open_postgres_server(var / "postgres") as server:
        await apply_migrations(server.url)
        yield server.url
