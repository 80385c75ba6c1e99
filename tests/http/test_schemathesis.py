"""A gateway and a processor under schemathesis: valid requests are accepted, invalid ones get a reason."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest
from argon2 import PasswordHasher

from shared.domain.account import Account, Role
from shared.storage.postgres.accounts import PostgresAccountStore
from tests.e2e.conftest import ROOT
from tests.http.conftest import OPERATORS, ROLES, TOKENS

if TYPE_CHECKING:
    from shared.storage.pool.database import Database

_FOLDER: Final = Path(__file__).parent
_WITHIN_S: Final = 300.0
_CALLERS: Final = {"user": "ada", "admin": "root", "operator": "olga", "nobody": None}
# Each tries what is for it alone: other tests hold who is refused where (`test_contract`, `test_ops`).
_PATHS: Final = {
    "user": ["--exclude-path-regex", "^/(ops|pages|user|docs|openapi|asyncapi|schemas|health|[.])"],
    "admin": ["--include-path-regex", "^/(user|key)"],
    "operator": ["--include-path-regex", "^/ops/api/(?!stream)"],
    "nobody": ["--include-path-regex", "^/(token|docs|openapi|asyncapi|schemas|health|[.])"],
}


@pytest.fixture
async def demo(database: Database) -> None:
    """The account of the contract's examples."""
    hash_ = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("demo")
    await PostgresAccountStore(database).add(Account("demo", hash_, frozenset([Role.USER])))


@pytest.mark.usefixtures("processor", "demo")
@pytest.mark.parametrize("caller", _CALLERS)
async def test_a_gateway_keeps_its_contract(gateway: str, caller: str, tmp_path: Path) -> None:
    status, printed = await _schemathesis(gateway, _CALLERS[caller], _PATHS[caller], tmp_path)

    assert status == 0, printed
    assert re.search(r"[0-9]{2,} generated, [0-9]{2,} passed", printed), printed


async def _schemathesis(address: str, name: str | None, paths: list[str], folder: Path) -> tuple[int, str]:
    headers = []
    if name is not None:
        token = TOKENS.issue(name, (ROLES | OPERATORS)[name], now=datetime.now(UTC))
        headers = ["--header", f"Authorization: Bearer {token}"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(_FOLDER / "schemathesis.toml")),
        *("run", f"{address}/openapi.json", "--no-color", "--checks", "all", *headers),
        *paths,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
        env=os.environ
        | {"SCHEMATHESIS_HOOKS_FILE": str(_FOLDER / "schemathesis_hooks.py"), "PYTHONPATH": str(ROOT)},
    )
    async with asyncio.timeout(_WITHIN_S):
        printed, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode()
