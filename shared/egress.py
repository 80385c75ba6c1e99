"""Which addresses a webhook may call: public ones over https, and those of networks that the operator names.

A webhook's URL comes from a user, and the request from inside the operator's network. So every address is
judged twice: a literal one when the webhook is made, and each one again before a socket is opened to it.

Python's ``is_global`` is not used: what it says differs between versions of Python.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from ipaddress import IPv4Network

Address: TypeAlias = "IPv4Address | IPv6Address"
Network: TypeAlias = "IPv4Network | IPv6Network"

MAX_URL_LENGTH: Final = 2000

# https://www.iana.org/assignments/iana-ipv4-special-registry and .../iana-ipv6-special-registry: all that is
# not globally reachable, what is deprecated, and multicast. The first network that holds an address names it.
_SPECIAL: Final = tuple(
    (ip_network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a carrier's customers"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "for documentation"),
        ("192.88.99.0/24", "of a 6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "for benchmarks"),
        ("198.51.100.0/24", "for documentation"),
        ("203.0.113.0/24", "for documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "IPv4-compatible"),
        ("64:ff9b:1::/48", "of a local NAT64"),
        ("100::/64", "discarded"),
        ("2001::/32", "of a Teredo tunnel"),
        ("2001:2::/48", "for benchmarks"),
        ("2001::/23", "reserved for protocols"),
        ("2001:db8::/32", "for documentation"),
        ("2002::/16", "of a 6to4 tunnel"),
        ("3fff::/20", "for documentation"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
# https://www.iana.org/assignments/ipv6-address-space: the only unicast addresses that are given out.
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
# RFC 6052: its last 32 bits are the IPv4 address that a NAT64 connects to.
_NAT64: Final = IPv6Network("64:ff9b::/96")
_LAST_32_BITS: Final = 2**32 - 1

# They give credentials of the machine to any program on it, and are refused in networks of the operator too.
_METADATA: Final = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # AWS, Azure, Google Cloud, OpenStack, Oracle Cloud and others
            "169.254.170.2",  # AWS ECS
            "169.254.170.23",  # AWS EKS
            "fd00:ec2::254",  # AWS
            "fd00:ec2::23",  # AWS EKS
            "fd20:ce::254",  # Google Cloud
            "100.100.100.200",  # Alibaba Cloud
            "168.63.129.16",  # Azure; looks public
            "192.0.0.192",  # Oracle Cloud, its older one
        ),
    )
)

_LABEL: Final = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_MAX_NAME_LENGTH: Final = 253
_LAST_PORT: Final = 65535
_NAME: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")
# What the C library reads as a part of an IPv4 address: 127.1, 0x7f000001 and 0177.0.0.1 are loopback.
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_BRACKETED: Final = re.compile(r"\[(?P<address>[0-9A-Fa-f:.]+)\]")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
# RFC 3986, and nothing that two readers of URLs could read differently.
_URL: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?]*)(?P<rest>.*)")
_PATH_AND_QUERY: Final = re.compile(r"(/|(?=\?)|$)(%[0-9A-Fa-f]{2}|[A-Za-z0-9._~:/?@!$&'()*+,;=\[\]-])*")


class _Authority(NamedTuple):
    """Where a URL leads.

    Attributes:
        host: In lower case; an IPv6 address in brackets.
        address: The host, if it is an address and no name.
        port: As it is written, with its colon; empty if it is not.
    """

    host: str
    address: Address | None
    port: str


@dataclass(frozen=True, slots=True)
class EgressRules:
    """Which addresses a webhook may call.

    Attributes:
        networks: Of the operator: addresses in them may be called too, over http as well.
    """

    networks: tuple[Network, ...] = ()

    def refusal(self, address: Address, *, scheme: str) -> str | None:
        """Why a webhook may not call this address by ``http`` or ``https``, in a few words; None if it may.

        An IPv4 address inside an IPv6 one (IPv4-mapped, NAT64) is judged in its place, for that is where a
        connection ends.
        """
        judged = _without_translation(address)
        if judged in _METADATA:
            return "it is one where a cloud has its metadata"
        if any(judged in network for network in self.networks):
            return None
        if kind := _special_kind(judged):
            return f"it is {kind}"
        return None if scheme == "https" else "http is for networks of the operator alone, use https"

    def checked_url(self, url: str) -> str:
        """The URL of a webhook, scheme and host in lower case; looks no name up.

        Returns:
            A URL that every reader of URLs reads alike.

        Raises:
            ValueError: No webhook may have it. The sentence says why, without the URL.
        """
        if len(url) > MAX_URL_LENGTH:
            raise ValueError(f"it has {len(url)} characters, and {MAX_URL_LENGTH} are allowed")
        if not (url.isascii() and url.isprintable()) or " " in url:
            raise ValueError("only visible ASCII is allowed: write hosts as xn--..., all else as %..")
        scheme, authority, rest = _split(url)
        if scheme != "https" and not (scheme == "http" and self.networks):
            raise ValueError("https:// is expected")
        host, address, port = _read_authority(authority)
        if address is not None and (refusal := self.refusal(address, scheme=scheme)):
            raise ValueError(f"its address is not allowed: {refusal}")
        return f"{scheme}://{host}{port}{rest}"


def read_networks(text: str) -> tuple[Network, ...]:
    """Networks in CIDR form, with commas between them; none of an empty text.

    Raises:
        ValueError: One is no network, or has bits behind its prefix.
    """
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    return tuple(_read_network(number, part) for number, part in enumerate(parts, 1))


def _read_network(number: int, text: str) -> Network:
    if "%" in text:
        raise ValueError(f"network {number} has a zone, which is another on each machine")
    try:
        return ip_network(text)
    except ValueError:
        raise ValueError(
            f"network {number}: expected 10.0.0.0/8 or fd12:3456::/32, say, and no bit behind the prefix"
        ) from None


def _without_translation(address: Address) -> Address:
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address) & _LAST_32_BITS) if address in _NAT64 else address


def _special_kind(address: Address) -> str | None:
    """What a special address is for; None if it is a public one."""
    for network, kind in _SPECIAL:
        if address in network:
            return kind
    is_public = isinstance(address, IPv4Address) or address in _GLOBAL_UNICAST
    return None if is_public else "given out to nobody"


def _split(url: str) -> tuple[str, str, str]:
    """Scheme in lower case, authority, and the path with the query."""
    if "#" in url:
        raise ValueError("a fragment (#...) is not allowed, it would never be sent")
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("expected a URL such as https://example.org/isoline")
    if not _PATH_AND_QUERY.fullmatch(match["rest"]):
        raise ValueError("its path or query has a character that is written as %.. in URLs")
    return match["scheme"].lower(), match["authority"], match["rest"]


def _read_authority(authority: str) -> _Authority:
    if "@" in authority:
        raise ValueError("a user or password (...@) is not allowed: requests are signed")
    host, colon, port = authority, "", ""
    if not authority.endswith("]"):
        head, colon, tail = authority.rpartition(":")
        host, port = (head, tail) if colon else (authority, "")
    if colon and not (_PORT.fullmatch(port) and int(port) <= _LAST_PORT):
        raise ValueError(f"its port has to be a number from 1 to {_LAST_PORT}")
    address = _literal_address(host)
    if address is None:
        _check_name(host)
    return _Authority(host.lower(), address, colon + port)


def _literal_address(host: str) -> Address | None:
    """The address that a host is; None if it is a name."""
    try:
        if host.startswith("["):
            match = _BRACKETED.fullmatch(host)
            return IPv6Address(match["address"] if match else "")
        if _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]):
            return IPv4Address(host)
    except ValueError:
        raise ValueError(
            "its host is an address in another form than 192.0.2.1 or [2001:db8::1], or has a zone"
        ) from None
    return None


def _check_name(host: str) -> None:
    if host.endswith("."):
        raise ValueError("its host has a dot at the end")
    if len(host) > _MAX_NAME_LENGTH or not _NAME.fullmatch(host):
        raise ValueError("its host is no name or address")
