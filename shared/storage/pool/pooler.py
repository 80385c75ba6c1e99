"""A pooler in front of PostgreSQL, such as PgBouncer, lends its sessions for a transaction at a time."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from asyncpg.pool import PoolConnectionProxy
    from asyncpg.transaction import Transaction

_ROLLBACK_WITHIN_S: Final = 5.0

MARK: Final = " pooled"
_SCHEMAS: Final = " schema="

_REFUSED_PARAMETER: Final = "unsupported startup parameter"


def name_behind_pooler(name: str) -> str:
    """The application name with a mark before its range of schemas.

    `pg_stat_activity` shows of a pooler's session just the process that used it last.
    """
    process, separator, schemas = name.partition(_SCHEMAS)
    return f"{process}{MARK}{separator}{schemas}"


def is_refusal_by_pooler(error: Exception) -> bool:
    """Whether PgBouncer refused the settings of a session; PostgreSQL has no such error."""
    return isinstance(error, asyncpg.ProtocolViolationError) and _REFUSED_PARAMETER in str(error)


async def is_pooled(connection: asyncpg.Connection[asyncpg.Record], *, timeout_s: float) -> bool:
    """Whether a pooler answers, which reports another process than the one that executes statements.

    It may ignore the settings of a session instead of refusing them.
    """
    # A statement without arguments: a prepared one could meet two sessions.
    found = await connection.execute(
        f"SELECT WHERE pg_backend_pid() = {connection.get_server_pid()}", timeout=timeout_s
    )
    return found == "SELECT 0"


@asynccontextmanager
async def transaction_with_settings(
    connection: PoolConnectionProxy[asyncpg.Record], settings: Mapping[str, str]
) -> AsyncIterator[None]:
    """A transaction with settings of its own: a setting of the session would be another client's too.

    Transactions inside are savepoints.
    """
    transaction = connection.transaction()
    try:
        await transaction.start()
        await connection.execute(";".join(f"SET LOCAL {name} = {value}" for name, value in settings.items()))
        yield
        await transaction.commit()
    except BaseException:
        await _roll_back(transaction, connection)
        raise


async def _roll_back(transaction: Transaction, connection: PoolConnectionProxy[asyncpg.Record]) -> None:
    """Roll back, once a statement that was cut off is cancelled; else close the connection."""
    try:
        async with asyncio.timeout(_ROLLBACK_WITHIN_S):
            await transaction.rollback()
    except (OSError, asyncpg.InterfaceError, asyncpg.PostgresError):  # TimeoutError is an OSError
        with suppress(asyncpg.InterfaceError):  # the pool took the lost connection back
            connection.terminate()
