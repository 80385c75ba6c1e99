"""``isoline user``, ``isoline api-key`` and ``isoline keys`` on the embedded mode, stopped and running."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from typing import TYPE_CHECKING, Final

import aiohttp
import jwt
import pytest

from gateway.accounts.password_hashing import PasswordHashing
from gateway.auth.signing_keys import new_seed
from shared.domain.account import Account, Role
from shared.domain.api_key import is_secret
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.postgres.api_keys import PostgresApiKeyStore
from tests.e2e.conftest import ROOT
from tests.e2e.test_embedded import Embedded, embedded

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from shared.storage.pool.database import Database

_WITHIN_S: Final = 60.0

__all__ = ["embedded"]  # a fixture


async def test_accounts_are_administered_while_it_is_stopped_and_while_it_runs(embedded: Embedded) -> None:
    created, printed = await embedded.isoline("user", "create", "ada", "--role", "user", "--role", "admin")
    password = re.findall(r"shown only now: (\S+)", printed)[0]
    await embedded.isoline("up")
    before = await _log_in(embedded.address, "ada", password)
    demoted = await embedded.isoline("user", "roles", "ada", "user")
    listed = await embedded.isoline("user", "list")
    changed = await embedded.isoline("user", "password", "ada")
    after = await _log_in(embedded.address, "ada", password)
    deleted = await embedded.isoline("user", "delete", "ada")
    again = await embedded.isoline("user", "create", "ada")
    last = await embedded.isoline("user", "delete", "admin")

    assert created == 0, printed
    assert before.keys() >= {"access_token", "refresh_token"}
    assert demoted == (0, "The account ada is user; its tokens have ended.\n")
    assert re.search(r"ada +│ user +│", listed[1])
    assert changed[0] == 0
    assert after["status"] == 401
    assert deleted[0] == 0
    assert again == (1, "The name ada is taken, or was, and is not given out again.\n")
    assert last == (1, "admin is the last administrator; make another one first.\n")


async def test_a_rotated_key_signs_from_the_next_start_and_the_tokens_before_stay_good(
    embedded: Embedded,
) -> None:
    await embedded.isoline("up")
    old = (await _log_in(embedded.address, "demo", "demo"))["access_token"]
    status, printed = await embedded.isoline("keys", "rotate")
    await embedded.isoline("down")
    await embedded.isoline("up")
    new = (await _log_in(embedded.address, "demo", "demo"))["access_token"]

    assert status == 0, printed
    assert jwt.get_unverified_header(old)["kid"] != jwt.get_unverified_header(new)["kid"]
    assert [await _status(embedded.address, token) for token in (old, new)] == [404, 404]
    assert (embedded.var / "token.key").stat().st_mode & 0o777 == 0o600


async def _log_in(address: str, user: str, password: str) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession(address) as session,
        session.post("/token", json={"user": user, "password": password}) as answer,
    ):
        document: dict[str, Any] = await answer.json(content_type=None)
        return document


async def _status(address: str, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(address) as session,
        session.get("/ecg/nothing", headers=headers) as answer,
    ):
        return answer.status


class Administration:
    """``isoline ...`` on the database of an environment."""

    def __init__(self, **environment: str) -> None:
        self._environment = os.environ | environment

    async def isoline(self, *arguments: str, stdin: bytes = b"") -> tuple[int | None, str]:
        """Exit status, and all that was printed."""
        process = await self.start(*arguments)
        async with asyncio.timeout(_WITHIN_S):
            printed, _ = await process.communicate(stdin)
        return process.returncode, printed.decode()

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """The command, with pipes."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "isoline", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=ROOT,
            env=self._environment,
        )


@pytest.fixture
def administration(database_url: str) -> Administration:
    return Administration(ISOLINE_DATABASE_URL=database_url)


async def test_an_api_key_is_created_shown_once_listed_and_revoked(
    administration: Administration, database: Database
) -> None:
    await PostgresAccountStore(database).add(Account("ada", "", frozenset([Role.USER, Role.OBSERVER])))

    status, printed = await administration.isoline(
        *("api-key", "create", "ada", "--name", "ward 3", "--role", "user", "--expires-in-days", "90")
    )
    secret = printed.split()[-1]
    [key] = await PostgresApiKeyStore(database).keys_of("ada")
    listed = await administration.isoline("api-key", "list", "ada")
    revoked = await administration.isoline("api-key", "revoke", str(key.id))

    assert status == 0, printed
    assert printed.startswith("The API key ward 3 of ada (user) was created. It is shown only now: isk_")
    assert is_secret(secret)
    assert key.expires_at is not None
    shown = (
        f"{key.id}  {secret[:12]}...  ward 3 (user): created {key.created_at.date()}, "
        f"expires {key.expires_at.date()}, last used never\n"
    )
    assert listed == (0, shown)
    assert revoked == (0, f"The API key {key.id} of ada was revoked.\n")
    assert await PostgresApiKeyStore(database).keys_of("ada") == []


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("create", "nobody", "--name", "x"), 1, "There is no account named nobody.\n"),
        (("create", "ada", "--name", "x", "--role", "operator"), 1, "The account ada does not have the role"),
        (("create", "ada", "--name", "x", "--role", "admin"), 1, "No API key may have the role admin"),
        (("create", "ada", "--name", "a\nb"), 2, "the key's name is 1 to 64 characters"),
        (("list", "nobody"), 1, "There is no account named nobody.\n"),
        (("revoke", "10"), 1, "There is no API key of this id.\n"),
    ],
)
async def test_a_command_for_api_keys_that_can_not_be_done_says_why_in_a_sentence(
    administration: Administration,
    database: Database,
    arguments: tuple[str, ...],
    status: int,
    sentence: str,
) -> None:
    await PostgresAccountStore(database).add(Account("ada", "", frozenset([Role.USER])))

    refused, printed = await administration.isoline("api-key", *arguments)

    assert refused == status, printed
    assert printed.startswith(sentence)
    assert printed.count("\n") == 1


async def is_password(database: Database, name: str, password: str) -> bool:
    return await PasswordHashing().matches(password, await PostgresAccountStore(database).find(name))


async def test_a_password_that_is_piped_is_the_password_whichever_command_it_is_for(
    administration: Administration, database: Database
) -> None:
    commands = [("user", "create", "eve"), ("create-admin", "--name", "adam"), ("user", "password", "eve")]
    for index, command in enumerate(commands):
        password = f"a piped p\u00e4ssword {index}"
        piped = [password.encode(), f"{password}\r\n".encode(), f"\ufeff{password}\n".encode()][index]

        status, printed = await administration.isoline(*command, stdin=piped)

        assert status == 0, printed
        assert "shown only now" not in printed
        assert await is_password(database, "adam" if "adam" in command else "eve", password)


@pytest.mark.parametrize(
    ("piped", "sentence"),
    [
        (b"\n", "the password needs 8 characters or more"),
        (b"short", "the password needs 8 characters or more"),
        (b"x" * 129, "the password may have 128 characters at the most"),
        (b"x" * 10_000_000, "standard input is no password: expected one line of text in UTF-8"),
        (b"a good password\nand another\n", "standard input is no password: expected one line"),
        (b"a good password\0", "standard input is no password: expected one line"),
        (b"\xff\xfea\0 \0", "standard input is no password: expected one line of text in UTF-8"),
    ],
)
async def test_piped_input_that_is_no_password_is_refused_and_creates_no_account(
    administration: Administration, database: Database, piped: bytes, sentence: str
) -> None:
    status, printed = await administration.isoline("user", "create", "eve", stdin=piped)

    assert status == 2, printed
    assert printed.startswith(sentence)
    assert printed.count("\n") == 1
    assert await PostgresAccountStore(database).find("eve") is None


async def test_without_piped_input_the_command_says_that_it_waits_for_a_password(
    administration: Administration, database: Database
) -> None:
    process = await administration.start("user", "create", "eve")
    assert process.stdout is not None
    async with asyncio.timeout(_WITHIN_S):
        said = await process.stdout.readline()
        printed, _ = await process.communicate(b"a good password")

    assert said.startswith(b"Waiting for a password on standard input")
    assert process.returncode == 0, printed
    assert await is_password(database, "eve", "a good password")


async def test_without_standard_input_a_password_is_made(
    database_url: str, administration: Administration
) -> None:
    closed = await asyncio.create_subprocess_shell(
        f"{sys.executable} -m isoline user create eve <&-",
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"ISOLINE_DATABASE_URL": database_url},
    )
    async with asyncio.timeout(_WITHIN_S):
        printed, _ = await closed.communicate()
    empty = await administration.isoline("user", "create", "adam")

    assert closed.returncode == 0
    assert b"shown only now" in printed
    assert empty[0] == 0
    assert "shown only now" in empty[1]


async def test_the_known_password_of_the_embedded_mode_is_not_passed_off_as_the_piped_one(
    embedded: Embedded,
) -> None:
    status, printed = await embedded.isoline("create-admin", stdin=b"a good password")

    assert status == 2
    assert printed.endswith("give it another with isoline user password admin\n")


async def test_a_database_and_a_key_may_be_named_by_files(
    database_url: str, database: Database, tmp_path: Path
) -> None:
    (tmp_path / "isoline_database_url").write_text(database_url)
    (tmp_path / "isoline_token_key").write_text(new_seed())
    administration = Administration(ISOLINE_SECRETS_DIR=str(tmp_path), ISOLINE_VAR=str(tmp_path / "var"))

    created = await administration.isoline("user", "create", "eve", stdin=b"a good password")
    rotated = await administration.isoline("keys", "rotate")

    assert created[0] == 0, created[1]
    assert await is_password(database, "eve", "a good password")
    assert rotated[1].endswith(f",{(tmp_path / 'isoline_token_key').read_text()}\n")
    assert not (tmp_path / "var").exists()


async def test_a_named_database_is_administered_instead(administration: Administration) -> None:
    async def isoline(*arguments: str) -> tuple[int | None, str]:
        return await administration.isoline("user", *arguments)

    assert (await isoline("create", "eve"))[0] == 0
    assert (await isoline("roles", "eve", "admin"))[0] == 0
    assert (await isoline("roles", "eve", "user"))[0] == 1
    assert (await isoline("delete", "nobody")) == (1, "There is no account named nobody.\n")
    assert [(await isoline("create", name))[0] for name in ("a b", ".", "..")] == [2, 2, 2]
    assert re.search(r"eve +│ admin +│", (await isoline("list"))[1])
