from __future__ import annotations

import socket

import pytest

from isoline.embedded.demo_accounts import is_loopback
from shared.domain.errors import ConfigurationError


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "127.1", "localhost", "::1", "0:0:0:0:0:0:0:1"])
def test_only_this_machine_reaches_its_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "0", "::", "192.0.2.1", "2001:db8::1", "fe80::1", "::ffff:192.0.2.1"],  # noqa: S104 - asked only
)
def test_others_may_reach_every_other_host(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1", "::1"], ["192.0.2.1"], ["127.0.0.1", "192.0.2.1"], ["::1", "2001:db8::1"]]
)
def test_a_name_is_what_all_its_addresses_are(addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)

    assert is_loopback("a-name") is (set(addresses) <= {"127.0.0.1", "::1"})


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", " "])
def test_a_host_without_an_address_is_a_wrong_setting(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"ISOLINE_HOST: .* has no address"):
        is_loopback(host)
