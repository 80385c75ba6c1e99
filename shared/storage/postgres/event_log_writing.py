"""What statements that write to the event log in PostgreSQL need to know."""

from __future__ import annotations

import math
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import asyncpg

from shared.observability.tracing import present_tracer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from shared.storage.pool.database import Connection

# Schemas from before 0023 have no such table; a role that was granted its privileges before has none on it.
_MAY_WRITE: Final = "SELECT coalesce(has_table_privilege(to_regclass('event_log'), 'INSERT'), false)"
_LOOK_AGAIN_AFTER_S: Final = 1.0


class WritableEventLog:
    """Whether this schema has the log, and this role may write to it; asked until it is so."""

    def __init__(self) -> None:
        self._is_writable = False
        self._looked_s = -math.inf

    @asynccontextmanager
    async def check(self, connection: Connection) -> AsyncIterator[bool]:
        """Yield whether statements that write to it may be executed now."""
        if not self._is_writable and time.monotonic() - self._looked_s > _LOOK_AGAIN_AFTER_S:
            self._is_writable = await connection.fetchval(_MAY_WRITE)
            self._looked_s = time.monotonic()
        try:
            yield self._is_writable
        except (asyncpg.UndefinedTableError, asyncpg.InsufficientPrivilegeError):
            self._is_writable = False
            raise


def logged_traceparents(events: Sequence[str | None]) -> list[str | None] | None:
    """The traces that the log names: none while every event has that of its submission."""
    return None if present_tracer() is None else list(events)
