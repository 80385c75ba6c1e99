"""A pool of connections to PostgreSQL, whose sessions end after an error that affects them."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from contextlib import asynccontextmanager, nullcontext, suppress
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import asyncpg
from prometheus_client import Gauge

from shared.domain.errors import IsolineError, UnavailableError
from shared.observability.logs import Logger
from shared.runtime.outages import Outages
from shared.storage.pool.errors import is_session_error, may_succeed_without_data, translated
from shared.storage.pool.hosts import Hosts
from shared.storage.pool.pooler import transaction_with_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from asyncpg.pool import PoolConnectionProxy

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"  # subscriptable in the stubs only

ACQUIRE_TIMEOUT_S: Final = 5.0
COMMAND_TIMEOUT_S: Final = 10.0
KEEP_IDLE_S: Final = 60.0
_CLOSE_TIMEOUT_S: Final = 5.0
_CONNECT_TIMEOUT_S: Final = 5.0

# After an error that affects sessions all connections are renewed, but not more often.
_RENEW_EVERY_S: Final = 1.0
# A refused write is remembered, since no later write may have tried. A processor tries every 5 s, and a write
# that waits for ever fails after 10.
REFUSAL_LASTS_S: Final = 15.0

# Kinds of writes, of which readiness checks each by itself.
SUBMISSIONS: Final = "submissions"
RECORDINGS: Final = "recordings"
RESULTS: Final = "results"

# A write of some 50 bytes to the write-ahead log and no table: its commit waits for the disk and a standby
# like any other.
_COMMIT: Final = "SELECT pg_logical_emit_message(true, 'isoline', '')"
_COMMIT_WITHIN_S: Final = 1.0

# Of each session, or behind a pooler of each transaction.
# Plans must depend neither on the tables' statistics, which are wrong for a minute or more whenever the
# tables grow fast, nor on the arguments. Every statement has an index to use; a table that seems empty would
# be read as a whole for each key, and a bitmap would hold all due rows before LIMIT cuts it. JIT never pays
# for statements of milliseconds, nor does memoize, as no statement looks a key up twice: it took a tenth of a
# look-up.
SESSION: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
    "enable_memoize": "off",
}

# Joined to a statement's FROM, it commits the transaction without waiting for the disk. Only for writes that
# may be repeated after a crash of PostgreSQL. Each flush takes the server 60 us or more, and a batch of three
# large ECGs has three statements.
ASYNC_COMMIT_SQL: Final = "(SELECT set_config('synchronous_commit', 'off', true)) AS without_flush"

_HELP_OF_PRIVILEGE: Final = (
    "Name a role of `isoline db grant --operator ROLE`: in ISOLINE_OPERATOR_DATABASE_URL of a gateway, or in "
    "ISOLINE_DATABASE_URL of a command."
)

_CONNECTIONS: Final = Gauge("isoline_database_connections", "Connections to PostgreSQL.", ["state"])

_log = Logger(__name__)


CheckSchema: TypeAlias = "Callable[[Connection], Awaitable[None]]"
"""Returns if the code works with the schema, else raises an IsolineError."""


class _IdleConnection(NamedTuple):
    """A connection, and since when it is idle."""

    connection: Connection
    since_s: float


class _Refusal(NamedTuple):
    """The error of a write, and its time."""

    error: UnavailableError
    at_s: float
    timed_out: bool

    def is_recent(self) -> bool:
        return time.monotonic() - self.at_s < REFUSAL_LASTS_S


class _CommitProbe(Enum):
    """The outcome of a commit that was tried to learn whether writes work again."""

    COMMITTED = "committed in time"
    TIMED_OUT = "no response in time"
    REFUSED = "refused, or not tried because the write before it was refused"


class Database:
    """Connections with time limits and one kind of failure, for the storage adapters.

    A connection without an error is kept for the next caller, unless another waits for one: release to the
    library's pool and acquisition take 30 us, as much as a statement costs its client otherwise. An idle
    connection goes back to the pool after 60 s and is closed: middleboxes may drop a silent connection.

    Attributes:
        sessions: Number of sessions begun; a new one may lead to another server or database.
    """

    def __init__(
        self, pool: asyncpg.Pool[asyncpg.Record], hosts: Hosts, check_schema: CheckSchema | None = None
    ) -> None:
        self.sessions = 0
        self._pool = pool
        self._hosts = hosts
        self._check_schema = check_schema
        self._idle: deque[_IdleConnection] = deque()  # last in, first out
        self._waiting = 0
        self._is_closing = False
        self._renewals = 0
        self._renewed_s = -math.inf
        self._refusals: dict[str, _Refusal] = {}
        self._outages = Outages("PostgreSQL")

    @asynccontextmanager
    async def connection(self, *, writes: str = "") -> AsyncIterator[Connection]:
        """A connection for one statement or transaction; behind a pooler it is in a transaction already.

        After an error that affects its session it is closed, and so are all others that are open by then,
        before they are used again.

        Args:
            writes: The kind of write whose outcome `check_writes` reports; empty if none.

        Raises:
            UnavailableError: PostgreSQL is away, slow or refused; the statement may have been executed.
        """
        connection = self._take_idle() or await self._acquire()
        renewals = self._renewals
        succeeded = False
        try:
            async with self._settings_of(connection):
                yield connection
            succeeded = True
        except Exception as error:
            if is_session_error(error):
                await self._end_session(connection)
            if not (isinstance(error, asyncpg.UndefinedColumnError) and await self._fits_schema()):
                self._raise_translated(error, is_lost=_is_closed(connection), writes=writes)
            raise
        finally:
            if not succeeded or self._waiting or self._is_closing or renewals != self._renewals:
                await self._release(connection)  # the library cancels a statement that may still be running
            else:
                self._idle.append(_IdleConnection(connection, time.monotonic()))
                await self._release_idle()
        if writes:
            self._refusals.pop(writes, None)
        if self._outages.reasons and not self._is_refused():
            self._outages.record_success()

    def used_connections(self) -> int:
        """How many connections callers have at present."""
        return self._pool.get_size() - self._pool.get_idle_size() - len(self._idle)

    async def check_writes(self, writes: str) -> None:
        """Return unless the last write of this kind failed within 15 s by an error that depends on data.

        A write that timed out waited for a row lock, or like every commit for the disk or a standby: it is
        forgotten once a commit succeeds, and remembered for as long as commits time out too.

        Args:
            writes: As for `connection`.

        Raises:
            UnavailableError: The error of that write.
        """
        refusal = self._refusals.get(writes)
        if refusal is None or not refusal.is_recent():
            return
        probe = await self._probe_commit() if refusal.timed_out else _CommitProbe.REFUSED
        if self._refusals.get(writes) is refusal:  # else a later write has replaced it
            if probe is _CommitProbe.COMMITTED:
                del self._refusals[writes]
            elif probe is _CommitProbe.TIMED_OUT:
                self._refusals[writes] = refusal._replace(at_s=time.monotonic())
        if probe is not _CommitProbe.COMMITTED:
            raise refusal.error.copy()

    async def close(self) -> None:
        """Close all connections within a time limit: a frozen server must not delay the exit."""
        self._is_closing = True
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                while self._idle:
                    await self._pool.release(self._idle.pop().connection)
                await self._pool.close()
        except TimeoutError:
            _log.warning("connections were cut off", waited_s=_CLOSE_TIMEOUT_S)
            self._pool.terminate()

    def _settings_of(self, connection: Connection) -> AbstractAsyncContextManager[None]:
        return transaction_with_settings(connection, SESSION) if self._hosts.is_pooled else nullcontext()

    def _is_refused(self) -> bool:
        return any(refusal.is_recent() for refusal in self._refusals.values())

    async def _probe_commit(self) -> _CommitProbe:
        try:
            async with self.connection() as connection:
                await connection.execute(_COMMIT, timeout=_COMMIT_WITHIN_S)
        except UnavailableError as error:
            is_timeout = isinstance(error.__cause__, TimeoutError)
            return _CommitProbe.TIMED_OUT if is_timeout else _CommitProbe.REFUSED
        return _CommitProbe.COMMITTED

    async def _release_idle(self) -> None:
        too_long_ago_s = time.monotonic() - KEEP_IDLE_S
        while self._idle and self._idle[0].since_s < too_long_ago_s:
            await self._pool.release(self._idle.popleft().connection)

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop().connection
            try:
                if not connection.is_closed():
                    return connection
                connection.terminate()  # tells the pool
            except asyncpg.InterfaceError:
                continue  # the pool knows: it took the lost connection back
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
        """Close this connection, and each other one before it is used again.

        On a read-only server, statements that read succeed in sessions that will never write.
        """
        _terminate(connection)
        now_s = time.monotonic()
        if now_s - self._renewed_s >= _RENEW_EVERY_S:
            self._renewed_s = now_s
            self._renewals += 1
            await self._pool.expire_connections()
            while self._idle:
                _terminate(self._idle.pop().connection)

    async def _fits_schema(self) -> bool:
        """Whether the code works with the schema, so that a missing column is a defect of ours."""
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
            self._outages.record_failure(
                str(failure), waited_s=limit_s if isinstance(error, TimeoutError) else 0.0
            )
            failure.is_logged = True
            if writes and may_succeed_without_data(error):
                timed_out = isinstance(error, TimeoutError)
                self._refusals[writes] = _Refusal(failure, time.monotonic(), timed_out)
        if failure is not None:
            raise failure from error


class OperatorDatabase(Database):
    """A database whose errors tell an operator which privilege is missing, and who gives it."""

    @asynccontextmanager
    async def connection(self, *, writes: str = "") -> AsyncIterator[Connection]:
        """As of `Database`.

        Raises:
            UnavailableError: As of `Database`.
        """
        try:
            async with super().connection(writes=writes) as connection:
                yield connection
        except UnavailableError as error:
            if not isinstance(error.__cause__, asyncpg.InsufficientPrivilegeError):
                raise
            reason = f"{error}. {_HELP_OF_PRIVILEGE}"
            raise UnavailableError(reason, for_sender=reason, needs_operator=True, is_logged=True) from error


def _terminate(connection: Connection) -> None:
    with suppress(asyncpg.InterfaceError):  # the pool took the lost connection back
        connection.terminate()


def _is_closed(connection: Connection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # the pool took the lost connection back
        return True


@asynccontextmanager
async def open_database(
    url: str,
    *,
    max_connections: int = 10,
    name: str = "isoline",
    check_schema: CheckSchema | None = None,
    is_for_operators: bool = False,
) -> AsyncIterator[Database]:
    """Yield a database that connects on first use, and again after an outage.

    Args:
        url: With user and password; of several hosts the one that accepts writes is used.
        max_connections: Most connections at a time.
        name: Shown in `pg_stat_activity.application_name`.
        check_schema: Distinguishes a column of a pending migration (retry) from a missing one (a defect).
        is_for_operators: Whether a missing privilege is said to who asked; the metrics of connections are of
            the service's own alone.
    """
    hosts = Hosts(url)
    connect: Any = hosts.connect  # the stubs ask for each of asyncpg's settings by its name

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
    if is_for_operators:
        database: Database = OperatorDatabase(pool, hosts, check_schema)
    else:
        database = Database(pool, hosts, check_schema)
        _CONNECTIONS.labels("used").set_function(database.used_connections)
        _CONNECTIONS.labels("open").set_function(pool.get_size)
        _CONNECTIONS.labels("most").set(max_connections)
    try:
        yield database
    finally:
        await database.close()


async def _keep_session(_: asyncpg.Connection[asyncpg.Record]) -> None:
    """Send nothing to the server when a connection goes back to the pool.

    No statement of ours changes a session, and the library rolls back an open transaction before. Its default
    also resets the session: a second round trip for each statement, which took 4 % of the processor's time,
    and more of the server's.
    """
