"""Roles of PostgreSQL with the privileges that a service needs and no others."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from tests.support.databases import open_connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def open_role(url: str, kind: str) -> AsyncIterator[str]:
    """Yield the name of a new role that may log in and do nothing; it is dropped afterwards.

    Args:
        url: Of a database of the server, with an administrator.
        kind: What it is for.
    """
    role = f"isoline_test_{kind}_{secrets.token_hex(4)}"
    async with open_connection(url) as connection:
        await connection.execute(f"CREATE ROLE {role} LOGIN")
        try:
            yield role
        finally:
            await connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def url_of_role(url: str, role: str) -> str:
    """The URL of a database, with this role in place of the one that it names."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}"))
