"""The column ``ecg_signal.header``, which the schema of the release before does not have yet.

All of this goes when `shared.storage.schema.compatibility.OLDEST_SCHEMA` is 10 or more.
"""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

import asyncpg

if TYPE_CHECKING:
    from shared.storage.postgres.database import Connection

# What a statement says of the column: among the others, and its value in one row or in each of many.
COLUMN: Final = ", header"
VALUE: Final = ", $8::json"
VALUES: Final = ", ($13::text[])[place]::json"

# PostgreSQL logs each statement that it refuses.
_TRY_AGAIN_AFTER_S: Final = 1.0


class HeaderColumn:
    """Runs statements that write the column, and does without it while it is not there."""

    def __init__(self) -> None:
        self._missed_at_s = -math.inf

    async def fetch(
        self, connection: Connection, statement: str, *arguments: object, header: object
    ) -> list[asyncpg.Record]:
        """What the statement returns; its last argument is ``header``, left out where it has no column.

        Nothing is lost by that: the older columns say the same.
        """
        if time.monotonic() - self._missed_at_s > _TRY_AGAIN_AFTER_S:
            # A refused statement would end the transaction that it is part of.
            part = connection.transaction() if connection.is_in_transaction() else nullcontext()
            try:
                async with part:
                    return await connection.fetch(statement, *arguments, header)
            except asyncpg.UndefinedColumnError:
                self._missed_at_s = time.monotonic()
        for words in (COLUMN, VALUE, VALUES):
            statement = statement.replace(words, "")
        return await connection.fetch(statement, *arguments)
