"""``isoline db grant``: what it prints and what it refuses in one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typer.testing import CliRunner

from isoline.cli.app import app
from shared.domain.errors import ConfigurationError
from tests.operations.test_migrate_command import isoline
from tests.support.databases import open_connection
from tests.support.roles import open_role

if TYPE_CHECKING:
    import pytest


async def test_a_grant_says_what_it_did_and_then_that_nothing_is_left_to_do(database_url: str) -> None:
    async with (
        open_role(database_url, "gateway") as gateway,
        open_role(database_url, "processor") as processor,
    ):
        options = ("--gateway", gateway, "--processor", processor)
        first = await isoline(database_url, "db", "grant", *options)
        second = await isoline(database_url, "db", "grant", *options)

    assert first[0] == 0
    assert f"{processor}: granted SELECT ON _pogo_migration; " in first[1]
    assert second == (
        0,
        (
            f"{gateway}: has what it needs already, and no more.\n"
            f"{processor}: has what it needs already, and no more.\n"
        ),
    )


async def test_the_sql_that_is_printed_grants_the_same(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ISOLINE_DATABASE_URL", raising=False)
    async with open_role(database_url, "processor") as role:
        printed = CliRunner().invoke(app, ["db", "grant", "--print", "--processor", role]).output
        async with open_connection(database_url) as connection:
            await connection.execute(printed)
        again = await isoline(database_url, "db", "grant", "--processor", role)

    assert printed.startswith("BEGIN;\nREVOKE ALL ON TABLE ")
    assert printed.endswith("COMMIT;\n")
    assert again == (0, f"{role}: has what it needs already, and no more.\n")


async def test_a_role_that_does_not_exist_is_one_sentence(database_url: str) -> None:
    assert await isoline(database_url, "db", "grant", "--gateway", "nobody") == (
        2,
        "PostgreSQL has no role nobody; make it with CREATE ROLE \"nobody\" LOGIN PASSWORD '...'\n",
    )


def test_whose_privileges_has_to_be_said() -> None:
    error = CliRunner().invoke(app, ["db", "grant"]).exception

    assert isinstance(error, ConfigurationError)
    assert "--gateway ROLE" in str(error)
