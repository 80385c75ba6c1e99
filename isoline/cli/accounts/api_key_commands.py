"""``isoline api-key ...``: API keys, administered directly in the database."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.api_keys.use_cases import MAX_LIFETIME_DAYS, create_api_key, list_api_keys, revoke_api_key
from isoline.cli.command_database import open_command_database
from shared.domain.account import Role
from shared.domain.api_key import KEY_NAME
from shared.domain.errors import ConfigurationError
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.postgres.api_keys import PostgresApiKeyStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from shared.domain.api_key import ApiKey

app = typer.Typer(
    no_args_is_help=True,
    help="API keys of accounts, for services and devices: create, list and revoke them.",
)

Account = Annotated[str, typer.Argument(help="The account's name.")]


@app.command("create")
def create(
    account: Account,
    *,
    name: Annotated[str, typer.Option(help="What or whom the key is for.")],
    role: Annotated[list[Role] | None, typer.Option(help="May be repeated; user without.")] = None,
    expires_in_days: Annotated[
        int | None, typer.Option(min=1, max=MAX_LIFETIME_DAYS, help="Without, it does not expire.")
    ] = None,
) -> None:
    """Create an API key of an account; it is shown only now."""
    typer.echo(asyncio.run(_create(account, name, role or [Role.USER], expires_in_days)))


@app.command("list")
def list_(account: Account) -> None:
    """Show the API keys of an account, the newest first, one a line."""
    for key in asyncio.run(_list(account)):
        typer.echo(
            f"{key.id}  {key.prefix}...  {key.name} ({_listed(key)}): created {_day(key.created_at)}, "
            f"expires {_day(key.expires_at)}, last used {_day(key.last_used_at)}"
        )


@app.command("revoke")
def revoke(key_id: Annotated[str, typer.Argument(help="The key's id, as the list shows it.")]) -> None:
    """Revoke an API key: within some seconds no gateway takes it any more."""
    typer.echo(asyncio.run(_revoke(key_id)))


async def _create(account: str, name: str, roles: list[Role], lifetime_days: int | None) -> str:
    if not KEY_NAME.fullmatch(name):
        raise ConfigurationError(
            f"the key's name is 1 to 64 characters without control characters, not {name!r}"
        )
    async with _open_stores() as (accounts, keys):
        created = await create_api_key(
            account, name, roles=roles, lifetime_days=lifetime_days, keys=keys, accounts=accounts
        )
    return (
        f"The API key {name} of {account} ({_listed(created.key)}) was created. "
        f"It is shown only now: {created.secret}"
    )


async def _list(account: str) -> list[ApiKey]:
    async with _open_stores() as (accounts, keys):
        return await list_api_keys(account, keys=keys, accounts=accounts)


async def _revoke(key_id: str) -> str:
    async with _open_stores() as (_, keys):
        account = await revoke_api_key(key_id, owner=None, keys=keys)
    return f"The API key {key_id} of {account} was revoked."


def _listed(key: ApiKey) -> str:
    return ", ".join(sorted(key.roles)) or "no role"


def _day(time: datetime | None) -> str:
    return "never" if time is None else str(time.astimezone(UTC).date())


@asynccontextmanager
async def _open_stores() -> AsyncIterator[tuple[PostgresAccountStore, PostgresApiKeyStore]]:
    async with open_command_database(is_for_operators=False) as database:
        yield PostgresAccountStore(database), PostgresApiKeyStore(database)
