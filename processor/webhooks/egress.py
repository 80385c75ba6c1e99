"""Connections to receivers: a name is looked up once, its addresses are checked, and they alone are used.

A second lookup could give other addresses than the first (DNS rebinding). So aiohttp gets the checked
addresses in place of a lookup of its own, and each socket is checked once more when it is made. There every
connection passes, those to literal addresses too, for which aiohttp asks no resolver.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

if TYPE_CHECKING:
    import ssl

    from processor.webhooks.name_lookup import NameLookup
    from shared.egress import Address, EgressRules

# More would only lengthen an attempt that fails.
_MOST_ADDRESSES: Final = 8
# The next event of a receiver goes without a new TLS handshake.
_IDLE_S: Final = 15.0


class RefusedAddressError(OSError):
    """A webhook may not call this address. The message says why, without the address."""


class CheckedResolver(AbstractResolver):
    """Gives aiohttp the addresses of a name if a webhook may call each of them.

    If one of several may not be called, none is: chance decides which of them a connection is made to, and a
    wrong record is told at once instead of now and then.
    """

    def __init__(self, names: NameLookup, rules: EgressRules, *, scheme: str) -> None:
        self._names = names
        self._rules = rules
        self._scheme = scheme

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The checked addresses of a name, of both families.

        Raises:
            RefusedAddressError: A webhook may not call one of them.
            NameLookupError: There is no such name, or no answer in time.
        """
        del family  # aiohttp asks for no particular one
        addresses = await self._names.addresses(host)
        for address in addresses:
            _check(address, self._rules, scheme=self._scheme)
        return [_result(host, port, address) for address in addresses[:_MOST_ADDRESSES]]

    async def close(self) -> None:
        """Close nothing: the lookup of names serves other connectors too."""


def checked_connector(
    names: NameLookup, rules: EgressRules, *, scheme: str, tls: ssl.SSLContext
) -> aiohttp.TCPConnector:
    """A connector that opens no connection to an address which a webhook may not call by this scheme."""

    def open_socket(address_info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = address_info
        _check(ip_address(address[0]), rules, scheme=scheme)
        return socket.socket(family, kind, protocol)

    return aiohttp.TCPConnector(
        resolver=CheckedResolver(names, rules, scheme=scheme),
        socket_factory=open_socket,
        use_dns_cache=False,
        ssl=tls,
        limit=0,  # the sender bounds its attempts
        keepalive_timeout=_IDLE_S,
    )


def _check(address: Address, rules: EgressRules, *, scheme: str) -> None:
    if refusal := rules.refusal(address, scheme=scheme):
        raise RefusedAddressError(f"its address is not allowed: {refusal}")


def _result(host: str, port: int, address: Address) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=str(address),
        port=port,
        family=socket.AF_INET if address.version == 4 else socket.AF_INET6,  # noqa: PLR2004 - IPv4
        proto=0,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
