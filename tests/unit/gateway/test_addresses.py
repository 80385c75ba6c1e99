from __future__ import annotations

import pytest

from gateway.addresses import caller_address


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "proxies", "expected"),
    [
        ("192.0.2.1", [], 0, "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], 0, "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], 1, "198.51.100.7"),
        ("192.0.2.1", ["10.9.9.9, 198.51.100.7"], 1, "198.51.100.7"),
        ("192.0.2.1", ["10.9.9.9", "198.51.100.7"], 1, "198.51.100.7"),
        ("192.0.2.1", ["198.51.100.7, 192.0.2.9"], 2, "198.51.100.7"),
        ("192.0.2.1", ["198.51.100.7"], 2, "192.0.2.1"),
        ("192.0.2.1", [], 1, "192.0.2.1"),
        ("192.0.2.1", ["'; DROP TABLE account"], 1, "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", [], 0, "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", [], 0, "2001:db8:1:2::/64"),
        ("fe80::1%eth0", [], 0, "fe80::/64"),
        ("::ffff:192.0.2.1", [], 0, "192.0.2.1"),
        (None, [], 0, "unknown"),
        ("", ["nonsense"], 1, "unknown"),
    ],
)
def test_only_what_our_own_proxies_say_is_believed(
    peer: str | None, forwarded_for: list[str], proxies: int, expected: str
) -> None:
    assert caller_address(peer, forwarded_for, proxies=proxies) == expected
