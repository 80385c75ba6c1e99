"""``isoline user`` and ``isoline keys`` on the embedded mode, stopped and running."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from typing import TYPE_CHECKING

import aiohttp
import jwt

from tests.e2e.conftest import ROOT
from tests.e2e.test_embedded import Embedded, embedded

if TYPE_CHECKING:
    from typing import Any

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


async def test_a_named_database_is_administered_instead(database_url: str) -> None:
    environment = os.environ | {"ISOLINE_DATABASE_URL": database_url}

    async def isoline(*arguments: str) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "isoline", "user", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=ROOT,
            env=environment,
        )
        printed, _ = await process.communicate()
        return process.returncode, printed.decode()

    assert (await isoline("create", "eve"))[0] == 0
    assert (await isoline("roles", "eve", "admin"))[0] == 0
    assert (await isoline("roles", "eve", "user"))[0] == 1
    assert (await isoline("delete", "nobody")) == (1, "There is no account named nobody.\n")
    assert [(await isoline("create", name))[0] for name in ("a b", ".", "..")] == [2, 2, 2]
    assert re.search(r"eve +│ admin +│", (await isoline("list"))[1])
