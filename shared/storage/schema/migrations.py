"""Migrate the schema up or down, unless running processes would break or going down would lose data."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, NamedTuple

import asyncpg
from pogo_core.migration import Migration, topological_sort
from pogo_core.util import sql as pogo

from shared.domain.errors import ConfigurationError, ConflictError, UnavailableError
from shared.storage.pool.errors import translated_errors
from shared.storage.pool.hosts import Hosts
from shared.storage.pool.pooler import MARK
from shared.storage.schema.compatibility import (
    MIGRATIONS,
    NEWEST_SCHEMA,
    applied_migrations,
    character_set_of,
    check_character_set,
    check_schema_of,
    connection_name,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
    from pathlib import Path

_SCHEMA: Final = "public"
_CONNECT_TIMEOUT_S: Final = 10.0
_POOLED: Final = (
    "ISOLINE_DATABASE_URL leads to a pooler such as PgBouncer, where two migrations could run at once: "
    "give `isoline migrate` and `isoline db grant` the URL of PostgreSQL itself"
)
# Tried again and again: a statement that waits for the lock has a snapshot, which an index that is made
# concurrently under the lock would wait for.
# It is held until the connection closes.
_TRY_LOCK: Final = "SELECT pg_try_advisory_lock(hashtext('isoline.migrate'))"
_LOCK_PAUSE_S: Final = 0.1

# A migration that waits for a table lock blocks every later statement on the table. It gives up after half a
# second, which requests can bear, and tries again, for a minute. Half a second is also less than the second
# after which PostgreSQL looks for deadlocks, so that in a deadlock the migration gives way.
_LOCK_TIMEOUT: Final = "SET LOCAL lock_timeout = '500ms'"
_TRIES: Final = 40
_PAUSE_S: Final = 1.0

_STATE: Final = """
INSERT INTO public.schema_compatibility (migration_id, oldest_code) VALUES ($1, $2)
ON CONFLICT (migration_id) DO UPDATE SET oldest_code = excluded.oldest_code
"""
_RUNNING: Final = """
SELECT DISTINCT application_name FROM pg_stat_activity
WHERE datname = current_database()
    AND application_name ~ '^isoline( |$)' AND application_name !~ '^isoline migrate '
ORDER BY application_name
"""

# Behind a pooler a name is seen until another process uses the session. Health is checked once a second.
_WATCH_POOLED_S: Final = 5.0
_WATCH_AGAIN_S: Final = 0.05

_STALE_NAMES: Final = (
    " (a pooler's idle session keeps the name of a process that has ended: RECONNECT at PgBouncer's console)"
)

_OLDEST_CODE: Final = re.compile(r"^-- oldest code: (\d+)$", re.MULTILINE)
_LOSS: Final = re.compile(r"^-- going back loses: (.+?) \((SELECT .+)\)$", re.MULTILINE)
_RANGE: Final = re.compile(r" schema=(?P<oldest>\d+)\.\.(?P<newest>\d+)(?: |$)")


class Loss(NamedTuple):
    """Data that going down would lose, and the statement that counts it."""

    what: str
    counted_by: str


class Statements(NamedTuple):
    """The statements in the comments of a migration's file.

    Attributes:
        number: Of the migration, and of the schema that it makes.
        oldest_code: The newest schema known to the oldest code that still works with the migration; None for
            early migrations: only code that knows them works with them.
        losses: Data that going down loses.
    """

    number: int
    oldest_code: int | None
    losses: Sequence[Loss]


async def migrate(url: str, *, to: int | None = None, force: bool = False) -> str:
    """Migrate to the newest schema of this release, or to another one, and return its name.

    Idempotent, also if several processes do it at once. Each migration up is applied wholly or not at all;
    all migrations down are applied together or not at all.

    Args:
        url: Of the database, with a user that may change its tables.
        to: The number of the schema, above or below the present one.
        force: Whether to migrate even if running processes do not work with that schema.

    Raises:
        ConfigurationError: The database is not UTF-8, there is no such schema, a later release applied
            migrations that may break this code, or the URL leads to a pooler.
        ConflictError: Running processes do not work with that schema, or going down would lose data.
        UnavailableError: PostgreSQL could not be reached or refused a statement, or a table stayed locked.
    """
    with translated_errors():
        async with open_locked_connection(url, "migrate") as connection:
            check_character_set(character_set_of(connection))
            await pogo.ensure_pogo_sync(connection)
            await _migrate(connection, to=to, force=force)
            return max(await applied_migrations(connection))


@asynccontextmanager
async def open_locked_connection(url: str, command: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection on which alone the schema and its privileges are changed, until it is closed.

    Args:
        url: Of the database.
        command: Names the connection.

    Raises:
        ConfigurationError: The URL leads to a pooler.
    """
    hosts = Hosts(url)
    connection = await hosts.connect(
        timeout=_CONNECT_TIMEOUT_S,
        server_settings={"application_name": connection_name(command)},
    )
    try:
        if hosts.is_pooled:
            raise ConfigurationError(_POOLED)
        while not await connection.fetchval(_TRY_LOCK):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(_LOCK_PAUSE_S)
        yield connection
    finally:
        await connection.close()


def read_statements(path: Path) -> Statements:
    """Read the statements in the comments of a migration's file."""
    text = path.read_text()
    oldest_code = _OLDEST_CODE.search(text)
    return Statements(
        int(path.stem.partition("_")[0]),
        int(oldest_code[1]) if oldest_code else None,
        [Loss(*found) for found in _LOSS.findall(text)],
    )


async def _migrate(connection: asyncpg.Connection[asyncpg.Record], *, to: int | None, force: bool) -> None:
    found = await pogo.read_migrations(MIGRATIONS, connection, schema_name=_SCHEMA)
    migrations = topological_sort([migration.load() for migration in found])
    statements = {migration: read_statements(migration.path) for migration in migrations}
    target = NEWEST_SCHEMA if to is None else to
    if target not in {stated.number for stated in statements.values()}:
        raise ConfigurationError(
            f"there is no schema {target:04}; this release knows 0001 to {NEWEST_SCHEMA:04}"
        )
    if later := await applied_migrations(connection) - {migration.id for migration in migrations}:
        if to is not None:
            raise ConfigurationError(
                f"{sorted(later)} came with a later release: use its `isoline migrate --to`"
            )
        await check_schema_of(connection)
    forward = [it for it in migrations if not it.applied and statements[it].number <= target]
    back = [it for it in reversed(migrations) if it.applied and statements[it].number > target]
    if (forward or back) and not force:
        await _check_running(connection, target, statements.values())
    for migration in forward:
        await _migrate_up(connection, migration, statements[migration])
    if back:
        await _in_transaction(connection, lambda: _migrate_down(connection, back, statements, target))


async def _migrate_up(
    connection: asyncpg.Connection[asyncpg.Record], migration: Migration, stated: Statements
) -> None:
    # Its statements are stored before it is recorded as applied: it may run without a transaction.
    async def apply() -> None:
        await migration.apply(connection)
        if stated.oldest_code is not None:
            await connection.execute(_STATE, migration.id, stated.oldest_code)
        await pogo.migration_applied(connection, migration.id, migration.hash, schema_name=_SCHEMA)

    if migration.use_transaction:
        await _in_transaction(connection, apply)
    else:
        await apply()


async def _migrate_down(
    connection: asyncpg.Connection[asyncpg.Record],
    migrations: Iterable[Migration],
    statements: dict[Migration, Statements],
    target: int,
) -> None:
    for migration in migrations:
        lost = [(await connection.fetchval(it.counted_by), it.what) for it in statements[migration].losses]
        if losses := [f"{count} {what}" for count, what in lost if count]:
            raise ConflictError(
                f"going back to {target:04} loses {', '.join(losses)} ({migration.id}); nothing was changed"
            )
        await migration.rollback(connection)
        await pogo.migration_unapplied(connection, migration.id, schema_name=_SCHEMA)


async def _in_transaction(
    connection: asyncpg.Connection[asyncpg.Record], act: Callable[[], Awaitable[None]]
) -> None:
    """Act in a transaction, with retries while tables are locked."""
    for _ in range(_TRIES):
        try:
            async with connection.transaction():
                await connection.execute(_LOCK_TIMEOUT)
                await act()
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            await asyncio.sleep(_PAUSE_S)
        else:
            return
    raise UnavailableError(
        "a table was in use for a minute, be it by a backup or a report; try again when that has ended"
    )


async def _check_running(
    connection: asyncpg.Connection[asyncpg.Record], target: int, statements: Iterable[Statements]
) -> None:
    watch_until_s = time.monotonic() + _WATCH_POOLED_S
    while True:
        names = [row["application_name"] for row in await connection.fetch(_RUNNING)]
        if unable := [name for name in names if not _works(name, target, statements)]:
            pooled = _STALE_NAMES if any(MARK in name for name in unable) else ""
            raise ConflictError(
                f"schema {target:04} is not for {', '.join(unable)}, which run now: replace them first by a "
                f"release that works with it, or use --force and have them not ready until they are replaced"
                f"{pooled}"
            )
        if not any(MARK in name for name in names) or time.monotonic() > watch_until_s:
            return
        await asyncio.sleep(_WATCH_AGAIN_S)


def _works(name: str, target: int, statements: Iterable[Statements]) -> bool:
    """Whether the code with this application name works with a schema."""
    code = _RANGE.search(name)
    if code is None:  # from before 0.1: it works with its own schema alone, and does not say which
        return False
    oldest, newest = int(code["oldest"]), int(code["newest"])
    return target >= oldest and all(
        stated.oldest_code is not None and stated.oldest_code <= newest
        for stated in statements
        if newest < stated.number <= target
    )
