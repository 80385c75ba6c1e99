"""Logins in PostgreSQL: one row each, which holds the hash of the one refresh token that is good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.storage.postgres.accounts import account_of

if TYPE_CHECKING:
    from uuid import UUID

    from shared.domain.account import Account
    from shared.ports.logins import Login
    from shared.storage.pool.database import Database

# Enough for a hundred machines of one owner; a client that logs in for every request ends its oldest logins.
_MAX_LOGINS: Final = 100

# No account has an empty name: a check with one writes nothing.
_ADD: Final = """
INSERT INTO login (id, account, account_version, token_hash, expires_at)
SELECT $1::uuid, $2::text, $3::integer, $4::bytea, now() + $5::integer * interval '1 second' WHERE $2 <> ''
"""

# Never the login that begins now: others may seem to have begun later, by a former primary's clock.
_TRIM: Final = """
DELETE FROM login WHERE id IN (
    SELECT id FROM login WHERE account = $1 AND id <> $3 ORDER BY began_at DESC OFFSET $2 - 1
)
"""

_ROTATE: Final = """
UPDATE login SET token_hash = $3
FROM account
WHERE login.id = $1 AND login.token_hash = $2 AND login.expires_at > now()
    AND account.name = login.account AND account.version = login.account_version
    AND account.deleted_at IS NULL
RETURNING account.name, account.password_hash, account.roles, account.version
"""

_END: Final = "DELETE FROM login WHERE id = $1"


class PostgresLoginStore:
    """`shared.ports.logins.LoginStore` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, login: Login) -> None:
        account = login.account
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(
                _ADD, login.id, account.name, account.version, login.token_hash, login.lifetime_s
            )
            await connection.execute(_TRIM, account.name, _MAX_LOGINS, login.id)

    async def rotate(self, login_id: UUID, *, spent: bytes, fresh: bytes) -> Account | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_ROTATE, login_id, spent, fresh)
        return account_of(row) if row else None

    async def end(self, login_id: UUID) -> None:
        async with self._database.connection() as connection:
            await connection.execute(_END, login_id)
