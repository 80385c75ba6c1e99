"""Administer accounts: of ISOLINE_DATABASE_URL if it is set, else of the embedded mode."""

from __future__ import annotations

import secrets
import select
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import typer

from gateway.accounts.password_hashing import PasswordHashing
from gateway.accounts.request_bodies import MAX_PASSWORD_LENGTH
from gateway.accounts.use_cases import (
    change_password,
    change_roles,
    create_account,
    delete_account,
)
from isoline.cli.command_database import is_production, open_command_database
from isoline.embedded.demo_accounts import DEMO_ACCOUNTS, create_demo_accounts, is_loopback
from isoline.embedded.state import read_state
from shared.domain.account import RESERVED_NAMES, USER_NAME, Role
from shared.domain.errors import ConfigurationError
from shared.runtime.settings import (
    EmbeddedSettings,
    GatewayOnlySettings,
    read_settings,
)
from shared.storage.postgres.accounts import PostgresAccountStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from shared.domain.account import Account
    from shared.ports.accounts import AccountStore

_GENERATED_BYTES: Final = 18
_MAX_INPUT_BYTES: Final = 1024
_NOT_IN_A_LINE: Final = frozenset("\r\n\0")
# A piped password is there within this time.
_SILENT_WAIT_S: Final = 1.0
_PAGE: Final = 1000
_DEMO_ADMIN: Final = DEMO_ACCOUNTS[0]


async def create_first_admin(name: str) -> str:
    """Create the first administrator; in the embedded mode on loopback the demo account admin.

    Returns:
        A sentence about it.

    Raises:
        ConfigurationError: The demo account was deleted or takes no password, or the password is invalid.
        ConflictError: The name is taken.
    """
    if not is_production():
        async with _open_accounts() as accounts:
            if (
                name == _DEMO_ADMIN.name and _is_local()
            ):  # checked while accounts are open, so that no other mode can start
                if _read_piped_password(is_needed=False) is not None:
                    raise ConfigurationError(
                        "admin has the password admin where only this machine reaches it: don't send one, "
                        "and give it another with isoline user password admin"
                    )
                return await _make_demo_admin(accounts)
    return await create(name, [Role.ADMIN])


async def _make_demo_admin(accounts: AccountStore) -> str:
    await create_demo_accounts(accounts)
    account = await accounts.find(_DEMO_ADMIN.name)
    if account is None:
        raise ConfigurationError("admin was deleted; make another with isoline create-admin --name NAME")
    if not await PasswordHashing().matches(_DEMO_ADMIN.password, account):
        return "The administrator admin exists, with a password of its own."
    return "The administrator admin, password admin, exists."


async def create(name: str, roles: Collection[Role]) -> str:
    """Create an account with a password that is asked for, piped in, or else generated.

    Raises:
        ConfigurationError: The name or the password is invalid.
        ConflictError: The name is taken, or was.
    """
    if not USER_NAME.fullmatch(name) or name in RESERVED_NAMES:
        raise ConfigurationError(f"a name is 1 to 64 of A-Z a-z 0-9 . _ @ - (but not . or ..), not {name!r}")
    password, said_once = _password()
    async with _open_accounts() as accounts:
        await create_account(name, password, roles, accounts=accounts, passwords=PasswordHashing())
    return f"The account {name} ({_listed(roles)}) was created.{said_once}"


async def all_accounts() -> list[Account]:
    """All accounts, in the order of their names."""
    found: list[Account] = []
    async with _open_accounts() as accounts:
        while page := await accounts.page(limit=_PAGE, after=found[-1].name if found else ""):
            found += page
    return found


async def set_roles(name: str, roles: Collection[Role]) -> str:
    """Change the roles of an account.

    Raises:
        NotFoundError: There is no such account.
        ConflictError: It is the last administrator.
    """
    async with _open_accounts() as accounts:
        await change_roles(name, roles, accounts=accounts)
    return f"The account {name} is {_listed(roles)}; its tokens have ended."


async def set_password(name: str) -> str:
    """Change a password to one that is asked for, piped in, or else generated.

    Raises:
        NotFoundError: There is no such account.
        ConfigurationError: The password is invalid.
    """
    password, said_once = _password()
    async with _open_accounts() as accounts:
        await change_password(name, password, accounts=accounts, passwords=PasswordHashing())
    return f"The account {name} has a new password; its tokens have ended.{said_once}"


async def delete(name: str) -> str:
    """Delete an account.

    Raises:
        NotFoundError: There is no such account.
        ConflictError: It is the last administrator.
    """
    async with _open_accounts() as accounts:
        await delete_account(name, accounts=accounts)
    return f"The account {name} was deleted; its ECGs stay, and its name is not given out again."


def _listed(roles: Collection[Role]) -> str:
    return ", ".join(sorted(set(roles)))


def _password() -> tuple[str, str]:
    """A password, and the sentence that shows it if it was generated here."""
    if sys.stdin is not None and sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    elif (piped := _read_piped_password()) is not None:
        password = piped
    else:
        password = secrets.token_urlsafe(_GENERATED_BYTES)
        return password, f" Its password, shown only now: {password}"
    if len(password) < (shortest := _password_min_length()):
        raise ConfigurationError(f"the password needs {shortest} characters or more")
    if len(password) > MAX_PASSWORD_LENGTH:
        raise ConfigurationError(f"the password may have {MAX_PASSWORD_LENGTH} characters at the most")
    return password, ""


def _read_piped_password(*, is_needed: bool = True) -> str | None:
    """The line on standard input, unless that is a terminal; None if it ends without one.

    Args:
        is_needed: Whether to wait for input if none has come for a second.
    """
    if sys.stdin is None or sys.stdin.isatty():
        return None
    if not select.select([sys.stdin], [], [], _SILENT_WAIT_S)[0]:
        if not is_needed:
            return None
        typer.echo("Waiting for a password on standard input; without one (</dev/null) it is made.", err=True)
    content = sys.stdin.buffer.read(_MAX_INPUT_BYTES + 1)
    if not content:
        return None
    try:
        line = content.decode("utf-8-sig").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        line = "\n"
    if len(content) > _MAX_INPUT_BYTES or not _NOT_IN_A_LINE.isdisjoint(line):
        raise ConfigurationError("standard input is no password: expected one line of text in UTF-8")
    return line


def _password_min_length() -> int:
    if is_production():
        return read_settings(GatewayOnlySettings).password_min_length
    embedded = read_settings(EmbeddedSettings)
    return (embedded if _is_local() else embedded.for_network()).password_min_length


def _is_local() -> bool:
    """Whether only this machine can reach the embedded mode that runs or would be started."""
    embedded = read_settings(EmbeddedSettings)
    running = read_state(embedded.var)
    return is_loopback(embedded.host) if running is None else running.is_local


@asynccontextmanager
async def _open_accounts() -> AsyncIterator[PostgresAccountStore]:
    async with open_command_database(is_for_operators=False) as database:
        yield PostgresAccountStore(database)
