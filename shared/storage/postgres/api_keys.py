"""API keys in PostgreSQL: one row each, with the hash of its secret; revoking a key deletes its row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from shared.domain.account import Role
from shared.domain.api_key import ApiKey
from shared.ports.api_keys import FoundApiKey
from shared.storage.postgres.table_rights import TableRights

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    import asyncpg

    from shared.ports.api_keys import NewApiKey
    from shared.storage.pool.database import Database

# So that two keys which are added at the same time count each other.
_LOCK_ACCOUNT: Final = "SELECT name FROM account WHERE name = $1 FOR NO KEY UPDATE"

_ADD: Final = """
INSERT INTO api_key (id, account, name, prefix, secret_hash, roles, expires_at)
SELECT $1, $2, $3, $4, $5, $6, now() + $7::integer * interval '1 second'
WHERE (SELECT count(*) FROM api_key WHERE account = $2) < $8
RETURNING id
"""

_COLUMNS: Final = """
SELECT api_key.id, api_key.account, api_key.name, api_key.prefix, api_key.roles, api_key.created_at,
    api_key.expires_at, api_key.last_used_at, account.roles AS account_roles, account.changed_at
FROM api_key JOIN account ON account.name = api_key.account AND account.deleted_at IS NULL
"""
_BY_SECRET: Final = f"{_COLUMNS} WHERE api_key.secret_hash = $1"
_BY_ID: Final = f"{_COLUMNS} WHERE api_key.id = $1"
_BY_ACCOUNT: Final = f"{_COLUMNS} WHERE api_key.account = $1 ORDER BY api_key.created_at DESC, api_key.id"

# Gateways look the keys of an account up again that changed after they did.
_REVOKE: Final = """
WITH revoked AS (
    DELETE FROM api_key WHERE id = $1 AND account = coalesce($2, account) RETURNING account
)
UPDATE account SET changed_at = greatest(clock_timestamp(), changed_at + interval '1 microsecond')
FROM revoked WHERE account.name = revoked.account RETURNING account.name
"""

# Another gateway that writes the same rows now writes nearly the same; waiting for it could be a deadlock.
_RECORD_USES: Final = """
WITH used AS (
    SELECT api_key.id, use.at FROM unnest($1::uuid[], $2::timestamptz[]) AS use (id, at)
    JOIN api_key ON api_key.id = use.id AND coalesce(api_key.last_used_at < use.at, true)
    FOR NO KEY UPDATE OF api_key SKIP LOCKED
)
UPDATE api_key SET last_used_at = used.at FROM used WHERE api_key.id = used.id
"""


class PostgresApiKeyStore:
    """`shared.ports.api_keys.ApiKeyStore` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rights = TableRights(database, "api_key", what="API keys")

    async def add(self, new: NewApiKey, *, limit: int) -> ApiKey | None:
        await self._rights.check()
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(_LOCK_ACCOUNT, new.account)
            values = (new.id, new.account, new.name, new.prefix, new.secret_hash, sorted(new.roles))
            if await connection.fetchval(_ADD, *values, new.lifetime_s, limit) is None:
                return None
            [row] = await connection.fetch(_BY_ID, new.id)
        return _key_of(row)

    async def find(self, secret_hash: bytes) -> FoundApiKey | None:
        await self._rights.check()
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_BY_SECRET, secret_hash)
        return FoundApiKey(_key_of(row), row["changed_at"]) if row else None

    async def keys_of(self, account: str) -> list[ApiKey]:
        await self._rights.check()
        async with self._database.connection() as connection:
            return [_key_of(row) for row in await connection.fetch(_BY_ACCOUNT, account)]

    async def revoke(self, key_id: UUID, *, account: str | None) -> str | None:
        await self._rights.check()
        async with self._database.connection() as connection:
            name: str | None = await connection.fetchval(_REVOKE, key_id, account)
        return name

    async def record_uses(self, uses: Mapping[UUID, datetime]) -> None:
        async with self._database.connection() as connection:
            await connection.execute(_RECORD_USES, list(uses), list(uses.values()))


def _key_of(row: asyncpg.Record) -> ApiKey:
    return ApiKey(
        id=row["id"],
        account=row["account"],
        name=row["name"],
        prefix=row["prefix"],
        roles=frozenset(map(Role, row["roles"])) & frozenset(map(Role, row["account_roles"])),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
    )
