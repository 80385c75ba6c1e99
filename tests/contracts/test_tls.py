"""TLS to both servers with an authority of an operator's own; other certificates are refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest
from yarl import URL

from shared.broker.rabbitmq.publisher import open_rabbitmq_publisher
from shared.broker.topology import Topology
from shared.domain.errors import UnavailableError
from shared.storage.pool.database import open_database
from shared.storage.postgres.checks import check_reading
from tests.support.certificates import CertificateAuthority
from tests.support.tls import TlsServers, database_url_by_tls, open_postgres_tls, open_tls_servers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_WITHIN_S: Final = 60.0
_ROLE: Final = "isoline"  # of the private PostgreSQL's administrator


@pytest.fixture(scope="module")
async def servers() -> AsyncIterator[TlsServers]:
    async with open_tls_servers() as servers:
        yield servers


async def test_a_certificate_of_the_named_authority_is_taken_by_both_legs(
    servers: TlsServers, database_url: str
) -> None:
    async with (
        asyncio.timeout(_WITHIN_S),
        open_postgres_tls(database_url, *servers.authority.sign("localhost")) as port,
        open_database(database_url_by_tls(database_url, _ROLE, port, servers.authority)) as database,
        open_rabbitmq_publisher(servers.amqp_url("guest", "guest"), topology=Topology()) as publisher,
    ):
        await check_reading(database)
        await publisher.check()


async def test_a_certificate_of_another_authority_is_refused_by_both_legs(
    servers: TlsServers, database_url: str
) -> None:
    other = CertificateAuthority(servers.folder / "other")
    async with (
        asyncio.timeout(_WITHIN_S),
        open_postgres_tls(database_url, *servers.authority.sign("localhost")) as port,
        open_database(database_url_by_tls(database_url, _ROLE, port, other)) as database,
        open_rabbitmq_publisher(
            servers.amqp_url("guest", "guest", authority=other), topology=Topology(), connect_timeout_s=5
        ) as publisher,
    ):
        with pytest.raises(UnavailableError) as of_database:
            async with database.connection():
                pass
        with pytest.raises(UnavailableError) as of_broker:
            await publisher.check()

    assert "certificate verify failed" in str(of_database.value)
    assert str(of_broker.value).startswith("RabbitMQ: the broker's certificate is not trusted: ")


async def test_a_certificate_for_another_host_is_refused_by_both_legs(
    servers: TlsServers, database_url: str
) -> None:
    url = URL(servers.amqp_url("guest", "guest")).with_host("127.0.0.1")
    async with (
        asyncio.timeout(_WITHIN_S),
        open_postgres_tls(database_url, *servers.authority.sign("elsewhere")) as port,
        open_database(database_url_by_tls(database_url, _ROLE, port, servers.authority)) as database,
        open_rabbitmq_publisher(str(url), topology=Topology(), connect_timeout_s=5) as publisher,
    ):
        with pytest.raises(UnavailableError) as of_database:
            async with database.connection():
                pass
        with pytest.raises(UnavailableError) as of_broker:
            await publisher.check()

    assert "certificate is not valid for 'localhost'" in str(of_database.value)
    assert "certificate is not valid for '127.0.0.1'" in str(of_broker.value)
