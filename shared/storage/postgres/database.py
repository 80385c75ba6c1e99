"""A pool of connections to PostgreSQL, whose sessions end when an error describes them."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import asyncpg

from shared.domain.errors import IsolineError, UnavailableError
from shared.observability.logs import Logger
from shared.runtime.outages import Outages
from shared.storage.postgres.errors import describes_session, shows_with_data, translated
from shared.storage.postgres.hosts import Hosts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"  # subscriptable in the stubs only

ACQUIRE_TIMEOUT_S: Final = 5.0
COMMAND_TIMEOUT_S: Final = 10.0
KEPT_UNUSED_S: Final = 60.0
_CLOSE_TIMEOUT_S: Final = 5.0
_CONNECT_TIMEOUT_S: Final = 5.0

# Of connections that some error describes, all are made anew, though not more often.
_RENEW_EVERY_S: Final = 1.0
# What was refused is not taken for mended because nobody has tried since. A processor tries every 5 s, and a
# write that waits for ever fails after 10.
REFUSED_FOR_S: Final = 15.0

# What is written, for readiness to tell apart what of it is refused.
SUBMISSIONS: Final = "submissions"
RECORDINGS: Final = "recordings"
RESULTS: Final = "results"

# A write of some 50 bytes to the server's log and to no table: its commit waits for the disk and a standby as
# that of any write does.
_COMMIT: Final = "SELECT pg_logical_emit_message(true, 'isoline', '')"
_COMMIT_WITHIN_S: Final = 1.0

# Plans must not depend on what the planner believes of the tables, which is wrong for a minute or more
# whenever they grow fast, nor on the arguments. Every statement has an index to go by; a table that seems
# empty would be read as a whole for each key, and a bitmap would hold all that is due before LIMIT cuts it.
# Compiling never pays for statements of milliseconds, nor does remembering what was found for a key, as no
# statement looks for one twice: of a look-up it took a tenth.
SESSION: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
    "enable_memoize": "off",
}

# To be joined to what a statement reads from: its transaction is committed without waiting for the disk. For
# what may happen again after a crash of PostgreSQL, and only for that. Of three statements for a batch of
# three large ECGs each flush takes the server 60 us or more.
WITHOUT_FLUSH: Final = "(SELECT set_config('synchronous_commit', 'off', true)) AS without_flush"

_log = Logger(__name__)


CheckSchema: TypeAlias = "Callable[[Connection], Awaitable[None]]"
"""Returns if the code works with the schema, else raises an IsolineError."""


class _Kept(NamedTuple):
    """A connection, and since when nobody uses it."""

    connection: Connection
    since_s: float


class _Refusal(NamedTuple):
    """What kept something from being written, and when that was."""

    error: UnavailableError
    at_s: float
    was_silent: bool  # rather than refused in words

    def is_recent(self) -> bool:
        return time.monotonic() - self.at_s < REFUSED_FOR_S


class Database:
    """What the storage adapters share: connections with time limits, and one kind of failure.

    A connection that did well is kept for who comes next, unless somebody waits for one. Giving it back to
    the library's pool and taking it out again takes 30 us, as much as a statement costs its client besides.
    One that nobody came for goes back all the same, and the pool closes it: what lies between it and the
    server may forget a connection that is silent for long.

    Attributes:
        sessions: How many were begun: what was read of the server before the last may not be so any more.
    """

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], check_schema: CheckSchema | None = None) -> None:
        self.sessions = 0
        self._pool = pool
        self._check_schema = check_schema
        self._kept: deque[_Kept] = deque()  # the one that was used last is the next
        self._waiting = 0
        self._is_closing = False
        self._renewals = 0
        self._renewed_s = -math.inf
        self._refusals: dict[str, _Refusal] = {}
        self._outages = Outages("PostgreSQL")

    @asynccontextmanager
    async def connection(self, *, writes: str = "") -> AsyncIterator[Connection]:
        """A connection for one statement or transaction.

        It is closed after an error that the next statement on it may meet too, and the others that are open
        by then are not used any longer either.

        Args:
            writes: What is written, for `check_writes` to know how that ended; empty if it need not.

        Raises:
            UnavailableError: PostgreSQL is away, slow or refused; what was sent may have happened.
        """
        connection = self._take_kept() or await self._acquire()
        renewals = self._renewals
        did_well = False
        try:
            yield connection
            did_well = True
        except Exception as error:
            if describes_session(error):
                await self._end_session(connection)
            if not (isinstance(error, asyncpg.UndefinedColumnError) and await self._knows_schema()):
                self._raise_translated(error, is_lost=_is_closed(connection), writes=writes)
            raise
        finally:
            if not did_well or self._waiting or self._is_closing or renewals != self._renewals:
                await self._release(connection)  # the library ends what may still be going on
            else:
                self._kept.append(_Kept(connection, time.monotonic()))
                await self._give_back_unused()
        if writes:
            self._refusals.pop(writes, None)
        if self._outages.reasons and not self._is_refused():
            self._outages.end_past()

    async def check_writes(self, writes: str) -> None:
        """Return unless the last of such writes failed a short while ago, as it would not have with no data.

        One that had no answer in time waited for a row, or as every commit for the disk or a standby: it is
        forgotten once a commit does well, and remembered for as long as commits have no answer either.

        Args:
            writes: As `connection` was told.

        Raises:
            UnavailableError: Why it was.
        """
        refusal = self._refusals.get(writes)
        if refusal is None or not refusal.is_recent():
            return
        can_commit = await self._can_commit() if refusal.was_silent else None
        if self._refusals.get(writes) is refusal:  # else a write has told more meanwhile
            if can_commit:
                del self._refusals[writes]
            elif can_commit is False:
                self._refusals[writes] = refusal._replace(at_s=time.monotonic())
        if not can_commit:
            raise refusal.error.again()

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

    def _is_refused(self) -> bool:
        return any(refusal.is_recent() for refusal in self._refusals.values())

    async def _can_commit(self) -> bool | None:
        """Whether a commit has an answer in time; None if PostgreSQL refuses to say."""
        try:
            async with self.connection() as connection:
                await connection.execute(_COMMIT, timeout=_COMMIT_WITHIN_S)
        except UnavailableError as error:
            return False if isinstance(error.__cause__, TimeoutError) else None
        return True

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
        except Exception as error:
            self._raise_translated(error, is_connecting=True)
            raise
        finally:
            self._waiting -= 1

    async def _release(self, connection: Connection) -> None:
        try:
            await self._pool.release(connection)
        except Exception as error:
            self._raise_translated(error, is_lost=True)
            raise

    async def _end_session(self, connection: Connection) -> None:
        """Close this connection, and each other before it is used again.

        On a server that is read-only, statements that read do well on sessions that will never write.
        """
        _terminate(connection)
        now_s = time.monotonic()
        if now_s - self._renewed_s >= _RENEW_EVERY_S:
            self._renewed_s = now_s
            self._renewals += 1
            await self._pool.expire_connections()
            while self._kept:
                _terminate(self._kept.pop().connection)

    async def _knows_schema(self) -> bool:
        """Whether the code works with the schema, so that a column that it misses is a defect of ours."""
        if self._check_schema is None:
            return False
        try:
            async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
                await self._check_schema(connection)
        except Exception as error:
            if isinstance(error, IsolineError) or translated(error, is_connecting=True):
                return False
            raise
        return True

    def _raise_translated(
        self, error: Exception, *, is_lost: bool = False, is_connecting: bool = False, writes: str = ""
    ) -> None:
        failure = translated(error, is_lost=is_lost, is_connecting=is_connecting)
        if isinstance(failure, UnavailableError):
            limit_s = ACQUIRE_TIMEOUT_S if is_connecting else COMMAND_TIMEOUT_S
            self._outages.begin(str(failure), waited_s=limit_s if isinstance(error, TimeoutError) else 0.0)
            failure.is_logged = True
            if writes and shows_with_data(error):
                was_silent = isinstance(error, TimeoutError)
                self._refusals[writes] = _Refusal(failure, time.monotonic(), was_silent)
        if failure is not None:
            raise failure from error


def _terminate(connection: Connection) -> None:
    with suppress(asyncpg.InterfaceError):  # the pool took back what was lost
        connection.terminate()


def _is_closed(connection: Connection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # see above
        return True


@asynccontextmanager
async def open_database(
    url: str,
    *,
    max_connections: int = 10,
    name: str = "isoline",
    check_schema: CheckSchema | None = None,
) -> AsyncIterator[Database]:
    """Yield a database that connects when it is first needed, and again whenever it was away.

    Args:
        url: Where it is, and as whom; of several hosts the one that takes writes.
        max_connections: How many connections at most.
        name: What PostgreSQL shows in `pg_stat_activity.application_name`.
        check_schema: Tells a column that is not there yet, which is waited for, from one that never will be.
    """
    connect: Any = Hosts(url).connect  # the stubs ask for each of asyncpg's settings by its name

    async def count(_: asyncpg.Connection[asyncpg.Record]) -> None:
        database.sessions += 1

    pool = asyncpg.create_pool(
        url,
        connect=connect,
        init=count,
        min_size=0,
        max_size=max_connections,
        command_timeout=COMMAND_TIMEOUT_S,
        timeout=_CONNECT_TIMEOUT_S,
        reset=_keep_session,
        server_settings=SESSION | {"application_name": name},
    )
    await pool
    database = Database(pool, check_schema)
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
