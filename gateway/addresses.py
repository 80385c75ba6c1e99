"""Where a request comes from, as far as it can be believed."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

# One customer of a provider has a /64 or more: limits per address would be none.
_IPV6_PREFIX: Final = 64


def caller_address(peer: str | None, forwarded_for: Sequence[str], *, proxies: int) -> str:
    """The address that limits count: of the connection, or what the outermost proxy of ours saw.

    Args:
        peer: The other end of the connection.
        forwarded_for: The values of ``X-Forwarded-For``, to which each proxy adds one address at the end;
            what stands before ours was sent by somebody whom nobody need believe.
        proxies: How many proxies of ours a request passes; with 0 the header means nothing.

    Returns:
        An IPv4 address, an IPv6 network of 64 bits, or ``unknown``.
    """
    if not proxies:
        return _network(peer) or "unknown"
    hops = [hop.strip() for value in forwarded_for for hop in value.split(",")]
    believed = hops[-proxies] if proxies <= len(hops) else peer
    return _network(believed) or _network(peer) or "unknown"


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
