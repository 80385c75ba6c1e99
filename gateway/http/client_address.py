"""The client address of a request, resolved through trusted proxies."""

from __future__ import annotations

import hashlib
import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from shared.observability.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Sequence

# A provider's customer has a /64 or more, so limits count networks of this size.
_IPV6_PREFIX: Final = 64
_LOGGED_CHARACTERS: Final = 64
_BETWEEN_HOPS: Final = ", \t"

_log = Logger(__name__)


class ClientAddressResolver:
    """Resolves the address that limits count: the connection's peer, or the hop seen by the outermost proxy.

    A hop that is no address (``unknown``, an obfuscated ``_name`` of RFC 7239) counts as a client of its own:
    the peer's address would count all clients behind the proxy as one, and earlier hops of the header can be
    forged. The first such hop is logged.

    Args:
        proxies: How many trusted proxies a request passes; with 0 ``X-Forwarded-For`` is ignored.
    """

    def __init__(self, proxies: int) -> None:
        self._proxies = proxies
        self._logged: set[str] = set()

    def resolve(self, peer: str | None, forwarded_for: Sequence[str]) -> str:
        """The client address of a request.

        Args:
            peer: The other end of the connection.
            forwarded_for: The values of ``X-Forwarded-For``, to which each proxy adds one address at the end.

        Returns:
            An IPv4 address, an IPv6 network of 64 bits, ``unread:`` with a digest, or ``unknown``.
        """
        if self._proxies and forwarded_for:
            hop = _without_port(_hop(forwarded_for, self._proxies))
            if hop:
                return _network(hop) or self._unreadable(hop)
            self._log_once("X-Forwarded-For has no address where the outermost trusted proxy should write it")
        return _network(peer) or "unknown"

    def _unreadable(self, hop: str) -> str:
        message = "X-Forwarded-For has a hop that is no address; each such text counts as one caller"
        self._log_once(message, hop=hop[:_LOGGED_CHARACTERS])
        return f"unread:{hashlib.sha256(hop.encode(errors='replace')).hexdigest()[:32]}"

    def _log_once(self, message: str, **fields: Any) -> None:
        if message not in self._logged:
            self._logged.add(message)
            _log.warning(message, proxies=self._proxies, **fields)


def _hop(forwarded_for: Sequence[str], position: int) -> str:
    """The hop at a position from the end, of all fields of the header as one list; empty if there is none.

    Empty elements of the list don't count (RFC 9110, 5.6.1). What precedes the hop is not parsed: a head may
    hold 30,000 commas.
    """
    for value in reversed(forwarded_for):
        rest = value.rstrip(_BETWEEN_HOPS)
        while rest:
            rest, _, hop = rest.rpartition(",")
            position -= 1
            if not position:
                return hop
            rest = rest.rstrip(_BETWEEN_HOPS)
    return ""


def _without_port(hop: str) -> str:
    """A hop without quotes, brackets and port: ports differ with each connection of a client."""
    hop = hop.strip().strip('"')
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    before, colon, _ = hop.rpartition(":")
    # More than one colon is IPv6, which may end in digits that are no port.
    return before if colon and (":" not in before or _network(hop) is None) else hop


# Requests of a minute come from few addresses, and parsing one takes 2 us.
@lru_cache(maxsize=1024)
def _network(address: str | None) -> str | None:
    try:
        parsed = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False))
    return str(parsed)
