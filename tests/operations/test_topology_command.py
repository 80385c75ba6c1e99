"""``isoline topology apply``: declares, and sets permissions by RabbitMQ's management API or says how."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import pytest
from typer.testing import CliRunner
from yarl import URL

from isoline.cli.app import app
from shared.broker.management_api import management_url_of
from shared.broker.topology import Topology, check_declared
from shared.domain.errors import ConfigurationError
from tests.contracts.brokers import open_channel
from tests.e2e.conftest import ROOT
from tests.support.servers.folders import server_folder
from tests.support.servers.rabbitmq_server import open_rabbitmq_server
from tests.support.servers.services import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.servers.rabbitmq_server import RabbitmqServer

_WITHIN_S: Final = 60.0
_SERVICES: Final = ("--grant", "--gateway", "gateway", "--processor", "processor")


async def isoline(url: str, topology: Topology, *arguments: str) -> tuple[int | None, str]:
    """Exit status, and all that was printed."""
    settings = {"ISOLINE_AMQP_URL": url, "ISOLINE_AMQP_NAMESPACE": topology.namespace, "COLUMNS": "200"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "isoline", "topology", "apply", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | settings | {"PYTHONPATH": str(ROOT)},
    )
    async with asyncio.timeout(_WITHIN_S):
        printed, _ = await process.communicate()
    return process.returncode, printed.decode()


@pytest.fixture(scope="module")
async def managed() -> AsyncIterator[tuple[RabbitmqServer, str]]:
    """A node of this file's own with its management API, and where that is."""
    port = free_port()
    with server_folder() as folder:
        async with open_rabbitmq_server(folder) as node:
            plugins = folder / "rabbitmq" / "enabled_plugins"
            plugins.write_text("[rabbitmq_management].\n")
            await node.control(
                "eval",
                f"application:set_env(rabbitmq_management, tcp_config, [{{port, {port}}}]), "
                f'rabbit_plugins:ensure("{plugins}").',
            )
            for user in ("gateway", "processor"):
                await node.control("add_user", user, "secret")
            yield node, f"http://guest:guest@127.0.0.1:{port}"


@pytest.fixture
def own_topology() -> Topology:
    """Names of this test's own."""
    return Topology(namespace=f"test-{uuid4().hex[:8]}-")


async def test_the_topology_is_declared_and_the_users_get_their_permissions(
    managed: tuple[RabbitmqServer, str], own_topology: Topology
) -> None:
    server, management = managed
    await server.control("set_permissions", "processor", ".*", ".*", ".*")

    first = await isoline(server.amqp_url, own_topology, *_SERVICES, "--management", management)
    second = await isoline(server.amqp_url, own_topology, *_SERVICES, "--management", management)
    async with open_channel(server.amqp_url) as channel:
        await check_declared(channel, own_topology)
    permissions = await server.control("list_permissions")

    name = own_topology.namespace
    assert first == (
        0,
        (
            "The exchanges and queues are there.\n"
            f"gateway: may now configure ^$, write ^({name}ecg[.]events)$, read ^$.\n"
            f"processor: may now configure ^$, write ^({name}ecg[.]events)$, "
            f"read ^({name}processor[.]ecg-submitted)$.\n"
        ),
    )
    assert second == (
        0,
        (
            "The exchanges and queues are there.\n"
            "gateway: has what it needs already, and no more.\n"
            "processor: has what it needs already, and no more.\n"
        ),
    )
    assert f"gateway\t^$\t^({name}ecg[.]events)$\t^$" in permissions


async def test_a_user_that_does_not_exist_or_that_nothing_limits_is_refused(
    managed: tuple[RabbitmqServer, str], own_topology: Topology
) -> None:
    server, management = managed
    for user, words in (
        ("nobody", "RabbitMQ has no user nobody; make it with rabbitmqctl add_user nobody"),
        ("guest", "the user guest is an administrator, whom no permission limits; "),
    ):
        status, printed = await isoline(
            server.amqp_url, own_topology, "--grant", "--gateway", user, "--management", management
        )
        assert status == 2
        assert words in printed


async def test_without_the_management_api_the_commands_are_printed(amqp_url: str, topology: Topology) -> None:
    status, printed = await isoline(
        amqp_url, topology, *_SERVICES, "--management", f"http://guest:guest@127.0.0.1:{free_port()}"
    )

    declared, why, *commands = printed.splitlines()
    assert status == 1
    assert declared == "The exchanges and queues are there."
    assert why.startswith("RabbitMQ's management API: Cannot connect to host 127.0.0.1:")
    assert why.endswith("No permission was set by it; run these where RabbitMQ runs:")
    assert commands == [
        f"rabbitmqctl set_permissions --vhost / gateway '^$' '^({topology.namespace}ecg[.]events)$' '^$'",
        (
            f"rabbitmqctl set_permissions --vhost / processor '^$' '^({topology.namespace}ecg[.]events)$' "
            f"'^({topology.namespace}processor[.]ecg-submitted)$'"
        ),
    ]


async def test_only_the_commands_are_printed_if_nothing_else_is_asked_for(
    amqp_url: str, topology: Topology
) -> None:
    unreachable = str(URL(amqp_url).with_port(free_port()).with_path("/clinic"))

    assert await isoline(unreachable, topology, "--grant", "--print", "--operator", "olga") == (
        0,
        (
            "rabbitmqctl set_permissions --vhost clinic olga '^$' "
            f"'^({topology.namespace}ecg[.]dead-letters|{topology.namespace}ecg[.]events)$' "
            f"'^({topology.namespace}processor[.]ecg-submitted[.]dead)$'\n"
        ),
    )


@pytest.mark.parametrize("arguments", [["--grant"], ["--gateway", "gateway"]])
def test_grant_goes_with_users(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOLINE_AMQP_URL", "amqp://guest:guest@127.0.0.1/")

    error = CliRunner().invoke(app, ["topology", "apply", *arguments]).exception

    assert isinstance(error, ConfigurationError)
    assert str(error).startswith("--grant goes with the users")


@pytest.mark.parametrize(
    ("given", "used"),
    [
        (None, "http://ada:secret@rabbitmq:15672"),
        ("http://other:1", "http://ada:secret@other:1"),
        ("https://root:pw@other", "https://root:pw@other"),
    ],
)
def test_the_management_api_is_asked_as_the_user_of_the_broker_unless_another_is_named(
    given: str | None, used: str
) -> None:
    assert management_url_of("amqp://ada:secret@rabbitmq/x", given).rstrip("/") == used
