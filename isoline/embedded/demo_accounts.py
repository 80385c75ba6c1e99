"""The demo accounts of the embedded mode, with known passwords, and the hosts that may have them."""

from __future__ import annotations

import socket
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.accounts.password_hashing import PasswordHashing
from gateway.accounts.use_cases import create_account
from shared.domain.account import Role
from shared.domain.errors import ConfigurationError, ConflictError

if TYPE_CHECKING:
    from shared.ports.accounts import AccountStore


class DemoAccount(NamedTuple):
    """An account with a published password, for a gateway that only this machine can reach."""

    name: str
    password: str
    role: Role


DEMO_ACCOUNTS: Final = (
    DemoAccount("admin", "admin", Role.ADMIN),
    DemoAccount("demo", "demo", Role.USER),
    DemoAccount("operator", "operator", Role.OPERATOR),
    DemoAccount("observer", "observer", Role.OBSERVER),
    DemoAccount("subscriber", "subscriber", Role.SUBSCRIBER),
)


def is_loopback(host: str) -> bool:
    """Whether all addresses of a host are loopback, so that only this machine can reach a gateway on it.

    Raises:
        ConfigurationError: The host has no address.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(f"ISOLINE_HOST: {host} has no address: {error}") from None
    return all(ip_address(address[0]).is_loopback for *_, address in found)


async def create_demo_accounts(accounts: AccountStore) -> None:
    """Create the demo accounts; those that exist or were deleted are left as they are."""
    passwords = PasswordHashing()
    for demo in DEMO_ACCOUNTS:
        if await accounts.find(demo.name) is None:
            with suppress(ConflictError):
                await create_account(
                    demo.name, demo.password, [demo.role], accounts=accounts, passwords=passwords
                )


async def check_no_known_passwords_on_network(accounts: AccountStore, host: str) -> None:
    """Return if no demo account has its published password, so that a gateway may listen on a network.

    Args:
        accounts: All that the gateway knows.
        host: Reachable from other machines, see `is_loopback`.

    Raises:
        ConfigurationError: A demo account has its published password.
    """
    passwords = PasswordHashing()
    known = [
        demo.name
        for demo in DEMO_ACCOUNTS
        if await passwords.matches(demo.password, await accounts.find(demo.name))
    ]
    if known:
        raise ConfigurationError(
            f"ISOLINE_HOST: {host} can be reached from other machines, and everybody knows the password of "
            f"{_listed(known)}: change it with isoline user password NAME, or delete the account with "
            "isoline user delete NAME, or leave ISOLINE_HOST at 127.0.0.1"
        )


def _listed(names: list[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
