"""Grant the privileges of `shared.storage.schema.privileges` to the roles of a database."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from shared.domain.errors import ConfigurationError, UnavailableError
from shared.storage.pool.errors import translated_errors
from shared.storage.schema.compatibility import NEWEST_SCHEMA, applied_migrations
from shared.storage.schema.migrations import open_locked_connection
from shared.storage.schema.privileges import TABLES, grant_statements, quoted

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import asyncpg

    from shared.service import Service

_ROLES: Final = """
SELECT rolname, rolsuper, EXISTS (
    SELECT FROM pg_tables WHERE schemaname = 'public' AND tablename = ANY ($2)
        AND pg_has_role(rolname, tableowner, 'MEMBER')
) AS is_owner
FROM pg_roles WHERE rolname = ANY ($1)
"""

# A privilege on columns is a row for each of them.
_PRIVILEGES: Final = """
WITH privilege AS (
    SELECT relname, '' AS attname, acl.* FROM pg_class, aclexplode(relacl) AS acl
    WHERE relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT relname, attname, acl.* FROM pg_class
    JOIN pg_attribute ON attrelid = pg_class.oid AND NOT attisdropped, aclexplode(attacl) AS acl
    WHERE relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT proname, '', acl.* FROM pg_proc, aclexplode(proacl) AS acl
    WHERE pronamespace = 'public'::regnamespace
)
SELECT rolname, relname, privilege_type, attname FROM privilege JOIN pg_roles ON pg_roles.oid = grantee
WHERE rolname = ANY ($1)
"""


class RoleChange(NamedTuple):
    """What a role was given and lost, as PostgreSQL writes privileges: ``UPDATE (due_at) ON ecg``."""

    role: str
    granted: list[str]
    revoked: list[str]


class _Privilege(NamedTuple):
    role: str
    table: str
    kind: str
    column: str


async def grant(url: str, roles: Mapping[str, set[Service]]) -> list[RoleChange]:
    """Give each role the privileges of its services and take all others on our tables; the changes.

    Idempotent, and all or nothing.

    Args:
        url: Of the database, with the owner of its tables.
        roles: The services of each role, by its name.

    Raises:
        ConfigurationError: A role does not exist, or no grant could limit it.
        UnavailableError: Migrations are pending, or PostgreSQL could not be reached or refused.
    """
    with translated_errors():
        async with open_locked_connection(url, "grant") as connection, connection.transaction():
            await _check_schema(connection)
            await _check_roles(connection, roles)
            before = await _read_privileges(connection, roles)
            for statement in grant_statements(roles):
                await connection.execute(statement)
            after = await _read_privileges(connection, roles)
    return [RoleChange(role, _texts(after - before, role), _texts(before - after, role)) for role in roles]


async def _check_schema(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """A grant names tables and columns of the newest schema."""
    numbers = {int(name.partition("_")[0]) for name in await applied_migrations(connection)}
    if NEWEST_SCHEMA not in numbers:
        raise UnavailableError("migrations are pending, run `isoline migrate` first", needs_operator=True)


async def _check_roles(connection: asyncpg.Connection[asyncpg.Record], names: Collection[str]) -> None:
    found = {row["rolname"]: row for row in await connection.fetch(_ROLES, list(names), TABLES)}
    for name in names:
        if name not in found:
            raise ConfigurationError(
                f"PostgreSQL has no role {name}; make it with CREATE ROLE {quoted(name)} LOGIN PASSWORD '...'"
            )
        if found[name]["rolsuper"] or found[name]["is_owner"]:
            kind = "is a superuser" if found[name]["rolsuper"] else "owns the tables"
            raise ConfigurationError(
                f"the role {name} {kind}, and no grant limits it; give the service a role of its own"
            )


async def _read_privileges(
    connection: asyncpg.Connection[asyncpg.Record], roles: Collection[str]
) -> set[_Privilege]:
    return {_Privilege(*row) for row in await connection.fetch(_PRIVILEGES, list(roles))}


def _texts(privileges: Collection[_Privilege], role: str) -> list[str]:
    columns: dict[tuple[str, str], list[str]] = defaultdict(list)
    for privilege in sorted(privileges):
        if privilege.role == role:
            columns[privilege.table, privilege.kind].append(privilege.column)
    return [
        f"{kind} ON {table}" if names == [""] else f"{kind} ({', '.join(filter(None, names))}) ON {table}"
        for (table, kind), names in columns.items()
    ]
