"""Commands of administrators of PostgreSQL: ``isoline db``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from shared.domain.errors import ConfigurationError
from shared.runtime.settings import DatabaseSettings, read_settings
from shared.service import Service
from shared.storage.schema import grants
from shared.storage.schema.privileges import grant_statements

if TYPE_CHECKING:
    from collections.abc import Iterator

    from shared.storage.schema.grants import RoleChange

app = typer.Typer(no_args_is_help=True, help="The database: the privileges of its roles.")

_ROLE_OF = "The role that {} logs in with."


@app.callback()
def _group() -> None:
    """Keep `grant` a command of its own beside others that may come."""


@app.command("grant")
def grant(
    *,
    gateway: Annotated[str | None, typer.Option(help=_ROLE_OF.format("the gateway"))] = None,
    processor: Annotated[str | None, typer.Option(help=_ROLE_OF.format("the processor"))] = None,
    operator: Annotated[
        str | None, typer.Option(help=_ROLE_OF.format("who runs isoline replay and isoline dlq"))
    ] = None,
    scaler: Annotated[
        str | None, typer.Option(help=_ROLE_OF.format("an autoscaler, which asks what waits,"))
    ] = None,
    only_print: Annotated[bool, typer.Option("--print", help="Only print the SQL.")] = False,
) -> None:
    """Give the roles of services the privileges that these need, and take all others on Isoline's tables.

    Needs ISOLINE_DATABASE_URL with the owner of the tables, after isoline migrate. Harmless when repeated.
    """
    roles: dict[str, set[Service]] = {}
    given = {
        Service.GATEWAY: gateway,
        Service.PROCESSOR: processor,
        Service.OPERATOR: operator,
        Service.SCALER: scaler,
    }
    for service, role in given.items():
        if role:
            roles.setdefault(role, set()).add(service)
    if not roles:
        raise ConfigurationError(
            "say whose: --gateway ROLE, --processor ROLE, --operator ROLE, --scaler ROLE, or several"
        )
    if only_print:
        typer.echo("\n".join(f"{line};" for line in ["BEGIN", *grant_statements(roles), "COMMIT"]))
        return
    url = read_settings(DatabaseSettings).database_url.get_secret_value()
    for change in asyncio.run(grants.grant(url, roles)):
        typer.echo("\n".join(_lines(change)))


def _lines(change: RoleChange) -> Iterator[str]:
    if change.granted:
        yield f"{change.role}: granted {'; '.join(change.granted)}."
    if change.revoked:
        yield f"{change.role}: revoked {'; '.join(change.revoked)}."
    if not (change.granted or change.revoked):
        yield f"{change.role}: has what it needs already, and no more."
