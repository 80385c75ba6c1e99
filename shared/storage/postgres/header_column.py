"""The column ``ecg_signal.header``, which the schema of the previous release does not have yet.

Remove this file when `shared.storage.schema.compatibility.OLDEST_SCHEMA` is 10 or more.
"""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

import asyncpg

if TYPE_CHECKING:
    from shared.storage.pool.database import Connection

# Fragments of the statements that `HeaderColumn` runs: the column in a list of columns, and its value in one
# row and in many. Where the column does not exist they are cut out.
HEADER_COLUMN_SQL: Final = ", header"
HEADER_VALUE_SQL: Final = ", $8::json"
HEADER_VALUES_SQL: Final = ", ($13::text[])[place]::json"

# PostgreSQL logs each statement that it refuses.
_TRY_AGAIN_AFTER_S: Final = 1.0


class HeaderColumn:
    """Runs statements that write the column, without it while it does not exist."""

    def __init__(self) -> None:
        self._missed_at_s = -math.inf

    async def fetch(
        self, connection: Connection, statement: str, *arguments: object, header: object
    ) -> list[asyncpg.Record]:
        """The statement's rows; its last argument is ``header``, left out where the column does not exist.

        Nothing is lost by that: the older columns hold the same.
        """
        if time.monotonic() - self._missed_at_s > _TRY_AGAIN_AFTER_S:
            # A refused statement would end the transaction that it is part of.
            savepoint = connection.transaction() if connection.is_in_transaction() else nullcontext()
            try:
                async with savepoint:
                    return await connection.fetch(statement, *arguments, header)
            except asyncpg.UndefinedColumnError:
                self._missed_at_s = time.monotonic()
        for fragment in (HEADER_COLUMN_SQL, HEADER_VALUE_SQL, HEADER_VALUES_SQL):
            statement = statement.replace(fragment, "")
        return await connection.fetch(statement, *arguments)
