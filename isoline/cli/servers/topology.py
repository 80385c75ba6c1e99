"""Commands of administrators of RabbitMQ: ``isoline topology``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import typer

from shared.broker import management_api
from shared.broker.management_api import management_url_of, virtual_host_of
from shared.broker.permissions import control_command, permissions_of
from shared.broker.rabbitmq.connection import open_connection_to_any
from shared.broker.rabbitmq.nodes import urls_of_nodes
from shared.broker.rabbitmq.refusals import translated_failures
from shared.broker.topology import Topology, declare
from shared.domain.errors import ConfigurationError, UnavailableError
from shared.runtime.process import process_name
from shared.runtime.settings import BrokerSettings, read_settings
from shared.service import Service

if TYPE_CHECKING:
    from shared.broker.permissions import Permissions

_CONNECT_TIMEOUT_S: Final = 10.0
_USER_OF: Final = "With --grant: the user that {} logs in as."
_EXIT_FAILED: Final = 1

app = typer.Typer(no_args_is_help=True, help="RabbitMQ: its exchanges and queues, and who may use them.")


@app.callback()
def _group() -> None:
    """Keep `apply` a command of its own beside others that may come."""


@app.command("apply")
def apply(
    *,
    grants: Annotated[
        bool, typer.Option("--grant", help="Also set the permissions of these users, and no others.")
    ] = False,
    gateway: Annotated[str | None, typer.Option(help=_USER_OF.format("the gateway"))] = None,
    processor: Annotated[str | None, typer.Option(help=_USER_OF.format("the processor"))] = None,
    operator: Annotated[
        str | None, typer.Option(help=_USER_OF.format("an operator who runs isoline dlq"))
    ] = None,
    management: Annotated[
        str | None,
        typer.Option(help="The management API, if it is not at port 15672 (TLS: 15671) of ISOLINE_AMQP_URL."),
    ] = None,
    only_print: Annotated[
        bool, typer.Option("--print", help="Only print the commands that would set the permissions.")
    ] = False,
) -> None:
    """Declare the exchanges and queues, so that services need no right to; --grant: give these theirs.

    Needs ISOLINE_AMQP_URL with an administrator of RabbitMQ. Harmless when repeated.
    """
    settings = read_settings(BrokerSettings)
    url, topology = settings.amqp_url.get_secret_value(), Topology(settings.amqp_namespace)
    given = {Service.GATEWAY: gateway, Service.PROCESSOR: processor, Service.OPERATOR: operator}
    users = _permissions_of_users(given, topology)
    if grants != bool(users):
        raise ConfigurationError(
            "--grant goes with the users whose permissions to set: --gateway USER, --processor USER, "
            "--operator USER, or several"
        )
    if only_print:
        _print_commands(url, users)
        return
    asyncio.run(_declare(url, topology))
    typer.echo("The exchanges and queues are there.")
    if users:
        _grant(url, management, users)


def _permissions_of_users(given: dict[Service, str | None], topology: Topology) -> dict[str, Permissions]:
    services: dict[str, set[Service]] = {}
    for service, user in given.items():
        if user:
            services.setdefault(user, set()).add(service)
    return {user: permissions_of(its, topology) for user, its in services.items()}


async def _declare(url: str, topology: Topology) -> None:
    async with (
        translated_failures(),
        open_connection_to_any(url, process_name("topology"), within_s=_CONNECT_TIMEOUT_S) as connection,
    ):
        await declare(await connection.channel(), topology)


def _grant(url: str, management: str | None, users: dict[str, Permissions]) -> None:
    [first, *_] = urls_of_nodes(url)
    try:
        changes = asyncio.run(
            management_api.set_permissions(
                management_url_of(first, management), users, virtual_host=virtual_host_of(first)
            )
        )
    except UnavailableError as error:
        typer.echo(f"{error}. No permission was set by it; run these where RabbitMQ runs:", err=True)
        _print_commands(url, users)
        raise typer.Exit(_EXIT_FAILED) from None
    for change in changes:
        said = (
            f"may now {change.permissions}" if change.is_changed else "has what it needs already, and no more"
        )
        typer.echo(f"{change.user}: {said}.")


def _print_commands(url: str, users: dict[str, Permissions]) -> None:
    [first, *_] = urls_of_nodes(url)
    for user, permissions in users.items():
        typer.echo(control_command(user, permissions, virtual_host=virtual_host_of(first)))
