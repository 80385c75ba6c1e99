"""The limit of open connections, so that files are left for everything else."""

from __future__ import annotations

import resource
import time
from collections import OrderedDict
from operator import methodcaller
from typing import Final, Protocol

from prometheus_client import Gauge

from shared.runtime.outages import Outages

# For the listeners, PostgreSQL, RabbitMQ, Redis, spooled recordings and the log.
_OTHER_FILES: Final = 128
# A process with more open files is slow to fork, and to be looked at.
_MAX_FILES: Final = 65_536
# A busy connection is evicted for a new one only after its request has waited for its client this long.
_EVICTABLE_AFTER_S: Final = 1.0
# To look through thousands of connections takes a millisecond.
_SEARCH_PAUSE_S: Final = 0.1

_OPEN: Final = Gauge("isoline_http_connections", "Open connections of clients.")

_DELAY: Final = methodcaller("client_delay_s")


class LimitedConnection(Protocol):
    """A connection that may be closed in favour of a new one."""

    def client_delay_s(self) -> float:
        """For how long the request that it serves has waited for its client; 0.0 once it was evicted."""

    def evict(self) -> None:
        """Close it: it serves no request, or one that waits for its client."""


class ConnectionLimit:
    """Limits open connections: a new one evicts the connection that has been idle for longest.

    If none is idle, it evicts the one whose client has kept it waiting for longest, for the rest of a body or
    by reading nothing of a response.

    Without it a client that opens connections and asks for nothing takes every file of the process, and the
    operating system resets the connections of everybody else, of probes among them.

    Args:
        max_connections: At most so many are open; if all of them are at work, a new one is refused.
    """

    def __init__(self, max_connections: int) -> None:
        self._max_connections = max_connections
        self._open: set[LimitedConnection] = set()
        self._idle: OrderedDict[LimitedConnection, None] = OrderedDict()
        # The slowest last, as of the last search.
        self._slow: list[LimitedConnection] = []
        self._searched_at = 0.0
        self._outages = Outages("places for connections")
        _OPEN.set_function(self._open.__len__)

    def add(self, connection: LimitedConnection) -> bool:
        """Count a new connection, which is idle; False if it is refused."""
        if len(self._open) < self._max_connections:
            self._outages.record_success()
            self._put(connection)
            return True
        self._outages.record_failure(
            f"{self._max_connections} are open; new ones take those of idle and slow ones"
        )
        evicted = next(iter(self._idle), None) or self._slowest()
        if evicted is None:
            return False
        self.remove(evicted)
        self._put(connection)
        evicted.evict()
        return True

    def mark_busy(self, connection: LimitedConnection) -> None:
        """A request of it is being served."""
        self._idle.pop(connection, None)

    def mark_idle(self, connection: LimitedConnection) -> None:
        """Its request is answered."""
        if connection in self._open:
            self._idle[connection] = None

    def remove(self, connection: LimitedConnection) -> None:
        """It is closed."""
        self._idle.pop(connection, None)
        self._open.discard(connection)

    def _put(self, connection: LimitedConnection) -> None:
        self._open.add(connection)
        self._idle[connection] = None

    def _slowest(self) -> LimitedConnection | None:
        """The connection whose client has kept its request waiting for longest."""
        now = time.monotonic()
        if not self._slow and now - self._searched_at > _SEARCH_PAUSE_S:
            self._searched_at = now
            self._slow = sorted(filter(_is_slow, self._open), key=_DELAY)
        while self._slow:
            slowest = self._slow.pop()
            if slowest in self._open and _is_slow(slowest):
                return slowest
        return None


def _is_slow(connection: LimitedConnection) -> bool:
    return connection.client_delay_s() > _EVICTABLE_AFTER_S


def raise_file_limit_for(max_connections: int) -> int:
    """Raise the process's limit of open files as far as is allowed; the connections that it is enough for.

    Args:
        max_connections: More are not needed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft == resource.RLIM_INFINITY:
        return max_connections
    return min(max_connections, max(soft - max(_OTHER_FILES, soft // 4), 1))
