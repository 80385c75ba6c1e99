from __future__ import annotations

import time

import pytest

from gateway.http.client_address import ClientAddressResolver
from tests.support.logs import capture_logs

_PROXY = "192.0.2.1"


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "proxies", "expected"),
    [
        ("192.0.2.1", [], 0, "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], 0, "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], 1, "198.51.100.7"),
        ("192.0.2.1", ["10.9.9.9, 198.51.100.7"], 1, "198.51.100.7"),
        ("192.0.2.1", ["10.9.9.9", "198.51.100.7"], 1, "198.51.100.7"),
        ("192.0.2.1", ["198.51.100.7, 192.0.2.9"], 2, "198.51.100.7"),
        ("192.0.2.1", ["198.51.100.7", "192.0.2.9"], 2, "198.51.100.7"),
        ("192.0.2.1", ["10.9.9.9,198.51.100.7", "192.0.2.9"], 2, "198.51.100.7"),
        ("192.0.2.1", ["10.9.9.9", "10.9.9.8, 198.51.100.7, 192.0.2.9"], 2, "198.51.100.7"),
        ("192.0.2.1", ["10.9.9.9, 198.51.100.7,192.0.2.8", "192.0.2.9"], 3, "198.51.100.7"),
        ("192.0.2.1", ["198.51.100.7,"], 1, "198.51.100.7"),
        ("192.0.2.1", ["198.51.100.7 ,\t, ,"], 1, "198.51.100.7"),
        ("192.0.2.1", ["198.51.100.7", ""], 1, "198.51.100.7"),
        ("192.0.2.1", ["198.51.100.7", " ,", ","], 1, "198.51.100.7"),
        ("192.0.2.1", ["10.9.9.9,198.51.100.7,,192.0.2.9"], 2, "198.51.100.7"),
        ("192.0.2.1", ["10.9.9.9", ",198.51.100.7,", "", ",192.0.2.9,"], 2, "198.51.100.7"),
        ("192.0.2.1", [",198.51.100.7"], 2, "192.0.2.1"),
        ("192.0.2.1", [",,"], 1, "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], 2, "192.0.2.1"),
        ("192.0.2.1", [], 1, "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", [], 0, "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", [], 0, "2001:db8:1:2::/64"),
        ("fe80::1%eth0", [], 0, "fe80::/64"),
        ("::ffff:192.0.2.1", [], 0, "192.0.2.1"),
        (None, [], 0, "unknown"),
        ("", [""], 1, "unknown"),
    ],
)
def test_only_the_hop_of_the_outermost_trusted_proxy_counts(
    peer: str | None, forwarded_for: list[str], proxies: int, expected: str
) -> None:
    assert ClientAddressResolver(proxies).resolve(peer, forwarded_for) == expected


@pytest.mark.parametrize(
    ("hop", "expected"),
    [
        ("203.0.113.7:5123", "203.0.113.7"),
        ('"203.0.113.7:5123"', "203.0.113.7"),
        ("203.0.113.7:_port", "203.0.113.7"),
        ("\t 203.0.113.7 ", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("[2001:db8::1]", "2001:db8::/64"),
        ("[2001:db8::1]:443", "2001:db8::/64"),
        ('"[2001:db8::1]:443"', "2001:db8::/64"),
        ("[2001:DB8:0:0:0:0:0:1]:443", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("[fe80::1%25eth0]:443", "fe80::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:5123", "203.0.113.7"),
        ("[::ffff:cb00:7107]", "203.0.113.7"),
        ("::ffff:203.0.113.7:5123", "203.0.113.7"),
        ("2001:db8:0:0:0:0:0:1:5123", "2001:db8::/64"),
        ("2001:db8::1:5123", "2001:db8::/64"),
    ],
)
def test_an_address_is_parsed_in_every_form_that_proxies_write(hop: str, expected: str) -> None:
    assert ClientAddressResolver(1).resolve(_PROXY, [f"10.9.9.9, {hop}"]) == expected


@pytest.mark.parametrize(
    "hop", ["_hidden", "unknown", "203.0.113.256", "'; DROP TABLE account", "unix", "\udcff"]
)
def test_a_hop_that_is_no_address_counts_as_a_client_of_its_own(hop: str) -> None:
    resolver = ClientAddressResolver(1)

    found = resolver.resolve(_PROXY, [hop])

    assert found.startswith("unread:")
    assert len(found) < 64
    assert resolver.resolve("192.0.2.2", [f"10.9.9.9, {hop}"]) == found
    assert resolver.resolve(_PROXY, [f"{hop}:5123"]) == resolver.resolve(_PROXY, [f"{hop}:5124"]) == found
    assert (
        len({found, *(resolver.resolve(_PROXY, [other]) for other in ("_other", "198.51.100.7", _PROXY))})
        == 4
    )


@pytest.mark.parametrize(
    "forwarded_for",
    [["10.9.9.9, :443"], ["10.9.9.9,[]:443"], ["10.9.9.9", '""'], [":443"], ["[]:443"], ['""'], [" , "]],
)
def test_an_empty_hop_falls_back_to_the_peer_and_not_to_earlier_hops(
    forwarded_for: list[str],
) -> None:
    assert ClientAddressResolver(1).resolve(_PROXY, forwarded_for) == _PROXY


@pytest.mark.parametrize(("forwarded_for", "proxies"), [(["_hidden"], 0), ([], 0), ([], 1)])
def test_without_a_proxy_or_its_header_there_is_nothing_to_log(
    forwarded_for: list[str], proxies: int
) -> None:
    with capture_logs() as records:
        ClientAddressResolver(proxies).resolve(_PROXY, forwarded_for)

    assert records == []


def test_a_hop_that_is_no_address_is_logged_once() -> None:
    resolver = ClientAddressResolver(1)
    with capture_logs() as records:
        for number in range(3):
            resolver.resolve(_PROXY, [f"_hidden{number}" + "x" * 1000])
            resolver.resolve(_PROXY, [""])
            resolver.resolve(_PROXY, ["198.51.100.7"])

    assert [(record["level"], record.get("hop")) for record in records] == [
        ("warning", "_hidden0" + "x" * 56),
        ("warning", None),
    ]


@pytest.mark.parametrize("hops", [",198.51.100.7,192.0.2.9", "198.51.100.7" + "," * 8000 + "192.0.2.9,"])
def test_commas_around_trusted_hops_cost_no_time(hops: str) -> None:
    resolver, fields = ClientAddressResolver(2), ["," * 8000] * 99
    started = time.thread_time()

    for _ in range(100):
        assert resolver.resolve(_PROXY, [*fields, hops]) == "198.51.100.7"

    assert time.thread_time() - started < 1  # each would take 30 ms
