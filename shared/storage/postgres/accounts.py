"""Accounts in PostgreSQL; a deleted one stays as a tombstone, so that no new account inherits its ECGs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.domain.account import Account, Role
from shared.domain.errors import ConflictError
from shared.ports.accounts import AccountChanges

if TYPE_CHECKING:
    from collections.abc import Collection

    import asyncpg

    from shared.storage.pool.database import Connection, Database

# No account has an empty name: a check with one writes nothing.
_ADD: Final = """
INSERT INTO account (name, password_hash, roles) SELECT $1::text, $2::text, $3::text[] WHERE $1 <> ''
ON CONFLICT (name) DO NOTHING RETURNING name
"""

_FIND: Final = (
    "SELECT name, password_hash, roles, version FROM account WHERE name = $1 AND deleted_at IS NULL"
)

_PAGE: Final = """
SELECT name, password_hash, roles, version FROM account WHERE name > $1 AND deleted_at IS NULL
ORDER BY name LIMIT $2
"""

# Locked in one order everywhere: of two transactions that would each leave the other's account as the last
# administrator, the second sees the result of the first.
_LOCK_WITH_ADMINS: Final = """
SELECT name, 'admin' = ANY (roles) AS is_admin FROM account
WHERE deleted_at IS NULL AND (name = $1 OR 'admin' = ANY (roles))
ORDER BY name FOR NO KEY UPDATE
"""

# A change is later than those before it, whichever clock they had.
_SET_ROLES: Final = """
UPDATE account SET roles = $2, version = version + 1,
    changed_at = greatest(clock_timestamp(), changed_at + interval '1 microsecond')
WHERE name = $1
"""

_NEW_HASH: Final = """
UPDATE account SET password_hash = $2, version = version + 1,
    changed_at = greatest(clock_timestamp(), changed_at + interval '1 microsecond')
WHERE name = $1 AND deleted_at IS NULL RETURNING name
"""

_REHASH: Final = "UPDATE account SET password_hash = $2 WHERE name = $1 AND password_hash = $3"

_DELETE: Final = """
UPDATE account SET password_hash = '', roles = '{}', version = version + 1, deleted_at = now(),
    changed_at = greatest(clock_timestamp(), changed_at + interval '1 microsecond')
WHERE name = $1
"""

_END_LOGINS: Final = "DELETE FROM login WHERE account = $1"

# Schemas from before 0024 have no such table. A key of a deleted account is not taken, even while it is here.
_MAY_END_KEYS: Final = "SELECT coalesce(has_table_privilege(to_regclass('api_key'), 'DELETE'), false)"
_END_KEYS: Final = "DELETE FROM api_key WHERE account = $1"

# One row; `clock_timestamp()` is not the time at which the transaction began.
_RECENT: Final = """
SELECT array_agg(name) AS names, array_agg(version) AS versions, array_agg(changed_at) AS times,
    extract(epoch FROM clock_timestamp())::float8 AS now_s
FROM account WHERE changed_at > now() - interval '3 hours'
"""


class PostgresAccountStore:
    """`shared.ports.accounts.AccountStore` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, account: Account) -> bool:
        roles = sorted(account.roles)
        async with self._database.connection() as connection:
            return await connection.fetchval(_ADD, account.name, account.password_hash, roles) is not None

    async def find(self, name: str) -> Account | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_FIND, name)
        return account_of(row) if row else None

    async def page(self, *, limit: int, after: str = "") -> list[Account]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_PAGE, after, limit)
        return [account_of(row) for row in rows]

    async def set_roles(self, name: str, roles: Collection[Role]) -> bool:
        async with self._database.connection() as connection, connection.transaction():
            if not await _lock_with_admins(connection, name, stays_admin=Role.ADMIN in roles):
                return False
            await connection.execute(_SET_ROLES, name, sorted(roles))
            await connection.execute(_END_LOGINS, name)
        return True

    async def set_password(self, name: str, password_hash: str) -> bool:
        async with self._database.connection() as connection, connection.transaction():
            if await connection.fetchval(_NEW_HASH, name, password_hash) is None:
                return False
            await connection.execute(_END_LOGINS, name)
        return True

    async def rehash(self, account: Account, password_hash: str) -> None:
        async with self._database.connection() as connection:
            await connection.execute(_REHASH, account.name, password_hash, account.password_hash)

    async def delete(self, name: str) -> bool:
        async with self._database.connection() as connection, connection.transaction():
            if not await _lock_with_admins(connection, name, stays_admin=False):
                return False
            await connection.execute(_DELETE, name)
            await connection.execute(_END_LOGINS, name)
            if await connection.fetchval(_MAY_END_KEYS):
                await connection.execute(_END_KEYS, name)
        return True

    async def recent_changes(self) -> AccountChanges:
        async with self._database.connection() as connection:
            [row] = await connection.fetch(_RECENT)
        names = row["names"] or ()
        return AccountChanges(
            dict(zip(names, row["versions"] or (), strict=True)),
            row["now_s"],
            dict(zip(names, row["times"] or (), strict=True)),
        )


def account_of(row: asyncpg.Record) -> Account:
    """The account of a row with name, password_hash, roles and version."""
    return Account(row["name"], row["password_hash"], frozenset(map(Role, row["roles"])), row["version"])


async def _lock_with_admins(connection: Connection, name: str, *, stays_admin: bool) -> bool:
    """Lock the account and all administrators until the transaction ends; whether the account exists."""
    rows = await connection.fetch(_LOCK_WITH_ADMINS, name)
    if not stays_admin:
        _check_not_last_admin(name, {row["name"] for row in rows if row["is_admin"]})
    return any(row["name"] == name for row in rows)


def _check_not_last_admin(name: str, admins: set[str]) -> None:
    """Return if another administrator is left without this account, or it is none.

    Raises:
        ConflictError: It is the last administrator, which stays one.
    """
    if admins == {name}:
        raise ConflictError(f"{name} is the last administrator; make another one first.")
