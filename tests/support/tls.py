"""Servers by TLS: a RabbitMQ that listens for it, and TLS in front of a PostgreSQL that was built without."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, NamedTuple
from unittest import mock
from urllib.parse import parse_qs, urlsplit

from tests.support.certificates import CertificateAuthority
from tests.support.servers import rabbitmq_server
from tests.support.servers.folders import server_folder
from tests.support.servers.rabbitmq_server import open_rabbitmq_server
from tests.support.servers.services import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.servers.rabbitmq_server import RabbitmqServer

# https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL
_SSL_REQUEST: Final = bytes.fromhex("0000000804d2162f")


class TlsServers(NamedTuple):
    """A RabbitMQ that also listens for TLS, and the authority of its certificate, which is for localhost.

    Attributes:
        folder: Of all of their files.
    """

    rabbitmq: RabbitmqServer
    amqps_port: int
    authority: CertificateAuthority
    folder: Path

    def amqp_url(self, user: str, password: str, *, authority: CertificateAuthority | None = None) -> str:
        """The URL by TLS; the certificate is checked by the server's own authority or by another."""
        ca = (authority or self.authority).certificate
        return f"amqps://{user}:{password}@localhost:{self.amqps_port}/?cafile={ca}"


@asynccontextmanager
async def open_tls_servers() -> AsyncIterator[TlsServers]:
    """Run a node of its own with a TLS listener."""
    port = free_port()
    with server_folder() as folder:
        authority = CertificateAuthority(folder / "authority")
        certificate, key = authority.sign("localhost")
        listener = (
            f"listeners.ssl.1 = 127.0.0.1:{port}\n"
            f"ssl_options.cacertfile = {authority.certificate}\n"
            f"ssl_options.certfile = {certificate}\n"
            f"ssl_options.keyfile = {key}\n"
        )
        configuration = rabbitmq_server._CONFIGURATION + listener
        with mock.patch.object(rabbitmq_server, "_CONFIGURATION", configuration):
            async with open_rabbitmq_server(folder) as node:
                yield TlsServers(node, port, authority, folder)


def database_url_by_tls(url: str, role: str, port: int, authority: CertificateAuthority) -> str:
    """The URL of a database at a port of `open_postgres_tls`, with a role and an authority to check by."""
    name = urlsplit(url).path
    return (
        f"postgresql://{role}@localhost:{port}{name}?sslmode=verify-full&sslrootcert={authority.certificate}"
    )


@asynccontextmanager
async def open_postgres_tls(url: str, certificate: Path, key: Path) -> AsyncIterator[int]:
    """Yield a port of localhost that takes connections to the PostgreSQL of this URL by TLS alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):  # of a client that refuses the certificate too
            if await reader.readexactly(len(_SSL_REQUEST)) == _SSL_REQUEST:
                writer.write(b"S")
                await writer.start_tls(context)
                from_server, to_server = await asyncio.open_unix_connection(_socket_of(url))
                await asyncio.gather(_forward(reader, to_server), _forward(from_server, writer))
        writer.close()

    server = await asyncio.start_server(accept, "localhost", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def _socket_of(url: str) -> str:
    query = parse_qs(urlsplit(url).query)
    return f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
    finally:
        writer.close()
