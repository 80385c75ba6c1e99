"""Where a request comes from, as far as it can be believed."""

from __future__ import annotations

import hashlib
import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from shared.observability.logs import Logger

if TYPE_CHECKING:
    from collections.abc import Sequence

# One customer of a provider has a /64 or more: limits per address would be none.
_IPV6_PREFIX: Final = 64
_LOGGED_CHARACTERS: Final = 64
_BETWEEN_HOPS: Final = ", \t"

_log = Logger(__name__)


class CallerAddresses:
    """The addresses that limits count: of the connection, or what the outermost proxy of ours saw.

    What that proxy wrote and is no address (``unknown``, an obfuscated ``_name`` of RFC 7239) counts as a
    caller of its own: the connection's address would count all callers behind the proxy as one, and what
    stands before it in the header was sent by somebody whom nobody need believe. The first is logged.

    Args:
        proxies: How many proxies of ours a request passes; with 0 the header means nothing.
    """

    def __init__(self, proxies: int) -> None:
        self._proxies = proxies
        self._logged: set[str] = set()

    def of(self, peer: str | None, forwarded_for: Sequence[str]) -> str:
        """The address of a request.

        Args:
            peer: The other end of the connection.
            forwarded_for: The values of ``X-Forwarded-For``, to which each proxy adds one address at the end.

        Returns:
            An IPv4 address, an IPv6 network of 64 bits, ``unread:`` with a digest, or ``unknown``.
        """
        if self._proxies and forwarded_for:
            hop = _without_port(_hop(forwarded_for, self._proxies))
            if hop:
                return _network(hop) or self._unread(hop)
            self._log_once("X-Forwarded-For has no address where the outermost proxy of ours should write it")
        return _network(peer) or "unknown"

    def _unread(self, hop: str) -> str:
        message = "X-Forwarded-For has a hop that is no address; each such text counts as one caller"
        self._log_once(message, hop=hop[:_LOGGED_CHARACTERS])
        return f"unread:{hashlib.sha256(hop.encode(errors='replace')).hexdigest()[:32]}"

    def _log_once(self, message: str, **fields: Any) -> None:
        if message not in self._logged:
            self._logged.add(message)
            _log.warning(message, proxies=self._proxies, **fields)


def _hop(forwarded_for: Sequence[str], place: int) -> str:
    """The hop at a place from the end, of a list that goes on from field to field; empty if there is none.

    Empty elements of a list are none (RFC 9110, 5.6.1). Commas that a sender put before the hop are not gone
    through: a head has room for 30,000 of them.
    """
    for value in reversed(forwarded_for):
        rest = value.rstrip(_BETWEEN_HOPS)
        while rest:
            rest, _, hop = rest.rpartition(",")
            place -= 1
            if not place:
                return hop
            rest = rest.rstrip(_BETWEEN_HOPS)
    return ""


def _without_port(hop: str) -> str:
    """A hop without quotes, brackets and port: a client has another port, and would be another, each time."""
    hop = hop.strip().strip('"')
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    before, colon, _ = hop.rpartition(":")
    # More than one colon is IPv6, which may end in digits that are no port.
    return before if colon and (":" not in before or _network(hop) is None) else hop


# The addresses of a minute are few beside its requests, and parsing one takes 2 us.
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
