"""A pool of connections to PostgreSQL, and how its errors become ours."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

import asyncpg
import structlog

from shared.domain.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"  # subscriptable in the stubs only

ACQUIRE_TIMEOUT_S: Final = 5.0
COMMAND_TIMEOUT_S: Final = 10.0
KEPT_UNUSED_S: Final = 60.0
_CLOSE_TIMEOUT_S: Final = 5.0
_CONNECT_TIMEOUT_S: Final = 5.0

# InternalClientError is a bare Exception; a lost connection may also be an OSError or a timeout.
_CONNECTION_ERRORS: Final = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)

# SQLSTATE classes and states that time mends: connection, rollback, read-only, resources, locks, operator,
# system, and a table or column that a pending migration will bring. All others are defects and stay loud.
_PASSING_STATES: Final = ("08", "25006", "40", "53", "55", "57", "58", "42P01", "42703")

# Plans must not depend on what the planner believes of the tables, which is wrong for a minute or more
# whenever they grow fast, nor on the arguments. Every statement has an index to go by; a table that seems
# empty would be read as a whole for each key, and a bitmap would hold all that is due before LIMIT cuts it.
# Compiling never pays for statements of milliseconds.
SESSION: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
}

# To be joined to what a statement reads from: its transaction is committed without waiting for the disk. For
# what may happen again after a crash of PostgreSQL, and only for that. Of three statements for a batch of
# three large ECGs each flush takes the server 60 us or more.
WITHOUT_FLUSH: Final = "(SELECT set_config('synchronous_commit', 'off', true)) AS without_flush"

_log = structlog.get_logger(__name__)


class _Kept(NamedTuple):
    """A connection, and since when nobody uses it."""

    connection: Connection
    since_s: float


class Database:
    """What the storage adapters share: connections with time limits, and one kind of failure.

    A connection that did well is kept for who comes next, unless somebody waits for one. Giving it back to
    the library's pool and taking it out again takes 30 us, as much as a statement costs its client besides.
    One that nobody came for goes back all the same, and the pool closes it: what lies between it and the
    server may forget a connection that is silent for long.
    """

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._pool = pool
        self._kept: deque[_Kept] = deque()  # the one that was used last is the next
        self._waiting = 0
        self._is_closing = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for one statement or transaction.

        Raises:
            UnavailableError: PostgreSQL is away, slow or refused; what was sent may have happened.
        """
        with translated_errors():
            connection = self._take_kept() or await self._acquire()
            did_well = False
            try:
                yield connection
                did_well = True
            finally:
                if did_well and not (self._waiting or self._is_closing):
                    self._kept.append(_Kept(connection, time.monotonic()))
                    await self._give_back_unused()
                else:  # the library ends what may still be going on
                    await self._pool.release(connection)

    async def close(self) -> None:
        """Close all connections within a time limit: a frozen server must not keep the process."""
        self._is_closing = True
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                while self._kept:
                    await self._pool.release(self._kept.pop().connection)
                await self._pool.close()
        except TimeoutError:
            _log.warning("connections were cut off", waited_s=_CLOSE_TIMEOUT_S)
            self._pool.terminate()

    async def _give_back_unused(self) -> None:
        too_long_ago_s = time.monotonic() - KEPT_UNUSED_S
        while self._kept and self._kept[0].since_s < too_long_ago_s:
            await self._pool.release(self._kept.popleft().connection)

    def _take_kept(self) -> Connection | None:
        while self._kept:
            connection = self._kept.pop().connection
            try:
                if not connection.is_closed():
                    return connection
                connection.terminate()  # so that the pool knows too
            except asyncpg.InterfaceError:
                continue  # it does: it took back what was lost
        return None

    async def _acquire(self) -> Connection:
        self._waiting += 1
        try:
            return await self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S)
        finally:
            self._waiting -= 1


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn the library's errors that time mends into UnavailableError."""
    try:
        yield
    except _CONNECTION_ERRORS as error:
        raise _unavailable(error) from error
    except asyncpg.PostgresError as error:
        if (error.sqlstate or "").startswith(_PASSING_STATES):
            raise _unavailable(error) from error
        raise


@asynccontextmanager
async def open_database(
    url: str, *, max_connections: int = 10, name: str = "isoline"
) -> AsyncIterator[Database]:
    """Yield a database that connects when it is first needed, and again whenever it was away.

    Args:
        url: Where it is, and as whom.
        max_connections: How many connections at most.
        name: What PostgreSQL shows in `pg_stat_activity.application_name`.
    """
    pool = asyncpg.create_pool(
        url,
        min_size=0,
        max_size=max_connections,
        command_timeout=COMMAND_TIMEOUT_S,
        timeout=_CONNECT_TIMEOUT_S,
        reset=_keep_session,
        server_settings=SESSION | {"application_name": name},
    )
    await pool
    database = Database(pool)
    try:
        yield database
    finally:
        await database.close()


async def _keep_session(_: asyncpg.Connection[asyncpg.Record]) -> None:
    """Ask nothing of the server when a connection goes back to the pool.

    No statement of ours changes a session, so that nothing is to be undone but a transaction that was left
    open, and that the library ends before. By default it resets the session too: a second round trip for each
    statement, which took 4 % of the processor's time, and the server's besides.
    """


def _unavailable(error: BaseException) -> UnavailableError:
    return UnavailableError(f"PostgreSQL: {type(error).__name__}: {error}")
