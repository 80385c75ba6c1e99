"""Accounts in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.domain.account import Account, Role

if TYPE_CHECKING:
    from shared.storage.postgres import Database

_ADD: Final = """
INSERT INTO account (name, password_hash, roles) VALUES ($1, $2, $3)
ON CONFLICT (name) DO NOTHING RETURNING name
"""

_FIND: Final = "SELECT name, password_hash, roles FROM account WHERE name = $1"


class PostgresAccountStore:
    """`shared.ports.AccountStore` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, account: Account) -> bool:
        roles = sorted(account.roles)
        async with self._database.connection() as connection:
            return await connection.fetchval(_ADD, account.name, account.password_hash, roles) is not None

    async def find(self, name: str) -> Account | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, name)
        if row is None:
            return None
        return Account(row["name"], row["password_hash"], frozenset(map(Role, row["roles"])))
