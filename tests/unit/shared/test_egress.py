"""Which addresses webhooks may call, and which URLs they may have."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final

import pytest

from shared.egress import MAX_URL_LENGTH, EgressRules, read_networks

_PUBLIC_ALONE: Final = EgressRules()
_WITH_NETWORKS: Final = EgressRules(read_networks("10.1.0.0/16, 127.0.0.2, fd12:3456::/32"))
_WITH_EVERY_NETWORK: Final = EgressRules(read_networks("0.0.0.0/0, ::/0"))

_PUBLIC: Final = (
    *("1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
    *("128.0.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0"),
    *("198.17.255.255", "198.20.0.0", "223.255.255.255"),
    *("2606:4700:4700::1111", "2001:200::1", "2a00::1", "2000::1", "3ffe:ffff::1"),
    *("::ffff:1.1.1.1", "64:ff9b::1.1.1.1"),
)
_SPECIAL: Final = {
    "unspecified": ("0.0.0.0", "0.1.2.3", "::"),  # noqa: S104 - nothing is bound to it
    "private": (
        "10.0.0.0",
        "10.255.255.255",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "fc00::1",
        "fdff::1",
    ),
    "shared by a carrier's customers": ("100.64.0.0", "100.127.255.255"),
    "loopback": ("127.0.0.1", "127.255.255.255", "::1"),
    "link-local": ("169.254.0.1", "fe80::1", "febf::1"),
    "reserved for protocols": ("192.0.0.1", "192.0.0.9", "2001:1::1", "2001:1ff::1"),
    "for documentation": ("192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff:fff::1"),
    "of a 6to4 relay": ("192.88.99.1",),
    "for benchmarks": ("198.18.0.1", "198.19.255.255", "2001:2::1"),
    "multicast": ("224.0.0.1", "239.255.255.255", "ff02::1"),
    "reserved": ("240.0.0.1", "255.255.255.255"),
    "IPv4-compatible": ("::127.0.0.1", "::1.1.1.1"),
    "of a local NAT64": ("64:ff9b:1::1.1.1.1",),
    "discarded": ("100::1",),
    "of a Teredo tunnel": ("2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2"),
    "of a 6to4 tunnel": ("2002:7f00:1::1", "2002:101:101::1"),
    "site-local": ("fec0::1",),
    "given out to nobody": ("::ffff:0:7f00:1", "4000::1", "1fff::1", "5f00::1", "64:ff9b:2::1"),
}
_METADATA: Final = (
    *("169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254"),
    *("100.100.100.200", "168.63.129.16", "192.0.0.192", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"),
)


@pytest.mark.parametrize("address", _PUBLIC)
def test_a_public_address_may_be_called_by_https_alone(address: str) -> None:
    assert _PUBLIC_ALONE.refusal(ip_address(address), scheme="https") is None
    assert _PUBLIC_ALONE.refusal(ip_address(address), scheme="http") is not None


@pytest.mark.parametrize(
    ("kind", "address"), [(kind, it) for kind, addresses in _SPECIAL.items() for it in addresses]
)
def test_a_special_address_may_not_be_called(kind: str, address: str) -> None:
    assert _PUBLIC_ALONE.refusal(ip_address(address), scheme="https") == f"it is {kind}"
    assert _PUBLIC_ALONE.refusal(ip_address(address), scheme="http") == f"it is {kind}"


@pytest.mark.parametrize("form", ["::ffff:{}", "64:ff9b::{}"])
@pytest.mark.parametrize(
    ("kind", "address"),
    [(kind, it) for kind, addresses in _SPECIAL.items() for it in addresses if ":" not in it],
)
def test_an_ipv4_address_inside_an_ipv6_one_is_judged_in_its_place(
    form: str, kind: str, address: str
) -> None:
    assert _PUBLIC_ALONE.refusal(ip_address(form.format(address)), scheme="https") == f"it is {kind}"


@pytest.mark.parametrize(
    "address", ["10.1.0.0", "10.1.255.255", "127.0.0.2", "fd12:3456::1", "::ffff:10.1.2.3"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_address_in_a_network_of_the_operator_may_be_called_by_both_schemes(
    address: str, scheme: str
) -> None:
    assert _WITH_NETWORKS.refusal(ip_address(address), scheme=scheme) is None


@pytest.mark.parametrize(
    "address", ["10.0.255.255", "10.2.0.0", "127.0.0.1", "fd12:3457::1", "::ffff:10.2.0.0"]
)
def test_networks_open_nothing_beside_them(address: str) -> None:
    assert _WITH_NETWORKS.refusal(ip_address(address), scheme="https") is not None


def test_networks_open_no_public_address_to_http() -> None:
    assert _WITH_NETWORKS.refusal(ip_address("1.1.1.1"), scheme="http") is not None


@pytest.mark.parametrize("address", _METADATA)
@pytest.mark.parametrize("rules", [_PUBLIC_ALONE, _WITH_EVERY_NETWORK], ids=["public alone", "every network"])
def test_where_a_cloud_has_its_metadata_may_never_be_called(rules: EgressRules, address: str) -> None:
    refusal = rules.refusal(ip_address(address), scheme="https")

    assert refusal == "it is one where a cloud has its metadata"


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("https://example.org", "https://example.org"),
        ("https://example.org:8443/a/b?c=d&e=%20f", "https://example.org:8443/a/b?c=d&e=%20f"),
        ("HTTPS://Example.ORG/Path", "https://example.org/Path"),
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("https://my_host.example?x", "https://my_host.example?x"),
        ("https://1.1.1.1:65535/", "https://1.1.1.1:65535/"),
        ("https://[2606:4700::1111]:1/", "https://[2606:4700::1111]:1/"),
        ("https://[2606:4700::1111]", "https://[2606:4700::1111]"),
        ("https://3com.example/", "https://3com.example/"),
        ("https://cafe/", "https://cafe/"),
        (
            "https://example.org/" + "a" * (MAX_URL_LENGTH - 20),
            "https://example.org/" + "a" * (MAX_URL_LENGTH - 20),
        ),
    ],
    ids=lambda text: text[:40],
)
def test_a_url_keeps_all_but_the_case_of_scheme_and_host(url: str, checked: str) -> None:
    assert _PUBLIC_ALONE.checked_url(url) == checked


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("", "expected a URL"),
        ("example.org", "expected a URL"),
        ("https:example.org", "expected a URL"),
        ("https:///path", "its host is no name"),
        ("https://", "its host is no name"),
        ("http://example.org/", "https:// is expected"),
        ("ftp://example.org/", "https:// is expected"),
        ("file:///etc/passwd", "https:// is expected"),
        ("gopher://example.org/", "https:// is expected"),
        ("https://user@example.org/", "user or password"),
        ("https://user:password@example.org/", "user or password"),
        ("https://example.org@127.0.0.1/", "user or password"),
        ("https://example.org/#part", "a fragment"),
        ("https://example.org#@127.0.0.1/", "a fragment"),
        ("https://example.org:0/", "its port"),
        ("https://example.org:65536/", "its port"),
        ("https://example.org:/", "its port"),
        ("https://example.org:443a/", "its port"),
        ("https://example.org:080/", "its port"),
        ("https://example.org:-1/", "its port"),
        ("https://[2606:4700::1111]:0/", "its port"),
        ("https://[2606:4700::1111]443/", "its port"),
        ("https://example.org./", "a dot at the end"),
        ("https://example..org/", "its host is no name"),
        ("https://.example.org/", "its host is no name"),
        ("https://-example.org/", "its host is no name"),
        ("https://exa%6dple.org/", "its host is no name"),
        (r"https://example.org\@127.0.0.1/", "user or password"),
        (r"https://example.org\.127.0.0.1/", "another form"),
        (r"https://example.org\a.example/", "its host is no name"),
        (r"https://example.org/a\b", "its path or query"),
        ("https://example.org/%zz", "its path or query"),
        ('https://example.org/"', "its path or query"),
        ("https://example.org/a b", "visible ASCII"),
        (" https://example.org/", "visible ASCII"),
        ("https://example.org/\r\nHost: elsewhere", "visible ASCII"),
        ("https://example.org/\x00", "visible ASCII"),
        ("https://bücher.example/", "visible ASCII"),
        ("https://①②⑦.⓪.⓪.①/", "visible ASCII"),
        ("https://127。0。0。1/", "visible ASCII"),
        ("https://" + "a" * 64 + ".example/", "its host is no name"),
        ("https://" + "a." * 127 + "a/", "its host is no name"),
        ("https://example.org/" + "a" * (MAX_URL_LENGTH - 19), "2001 characters"),
    ],
    ids=lambda text: text[:40].encode("unicode_escape").decode(),
)
def test_a_url_that_could_be_read_in_two_ways_is_refused(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        _PUBLIC_ALONE.checked_url(url)


@pytest.mark.parametrize(
    "host",
    [
        *(
            "2130706433",
            "017700000001",
            "0x7f000001",
            "0X7F000001",
            "127.1",
            "127.0.1",
            "0177.0.0.1",
            "0x7f.0.0.1",
        ),
        *(
            "127.0.0.0x1",
            "127.0.0.01",
            "127.0.0.1.",
            "0",
            "0x",
            "1.1.1.1.1",
            "256.1.1.1",
            "1.1.1",
            "example.1",
        ),
        *("[127.0.0.1]", "[::1%lo]", "[fe80::1%25eth0]", "[::1", "[]", "[:::]", "[::1]]", "[1]", "[v1.x]"),
    ],
)
def test_an_address_in_any_other_form_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match=r"another form|its host is no name|its port"):
        _WITH_EVERY_NETWORK.checked_url(f"https://{host}/")


@pytest.mark.parametrize("address", [it for addresses in _SPECIAL.values() for it in addresses])
def test_a_literal_address_is_judged_at_once(address: str) -> None:
    host = f"[{address}]" if ":" in address else address

    with pytest.raises(ValueError, match="its address is not allowed: it is "):
        _PUBLIC_ALONE.checked_url(f"https://{host}/")


def test_http_is_for_networks_of_the_operator() -> None:
    assert _WITH_NETWORKS.checked_url("http://10.1.0.1:8000/") == "http://10.1.0.1:8000/"
    assert _WITH_NETWORKS.checked_url("http://receiver/") == "http://receiver/"  # judged when it is looked up
    with pytest.raises(ValueError, match="use https"):
        _WITH_NETWORKS.checked_url("http://1.1.1.1/")


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("", ()),
        (" ", ()),
        ("10.0.0.0/8", ("10.0.0.0/8",)),
        (" 10.0.0.0/8 ,192.168.1.5,fd00::/8", ("10.0.0.0/8", "192.168.1.5/32", "fd00::/8")),
    ],
)
def test_networks_have_commas_between_them(text: str, networks: tuple[str, ...]) -> None:
    assert tuple(map(str, read_networks(text))) == networks


@pytest.mark.parametrize(
    "text", ["10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/8,", ",", "example.org", "fe80::1%eth0", "10"]
)
def test_what_is_no_network_is_named_by_its_number(text: str) -> None:
    with pytest.raises(ValueError, match=r"network [12]"):
        read_networks(text)
