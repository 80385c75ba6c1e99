"""Readiness parts: the schema can be read, and the last one that was read fits this code."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

from shared.domain.errors import UnavailableError
from shared.runtime.health import HealthPart
from shared.storage.schema.compatibility import read_schema

if TYPE_CHECKING:
    from shared.storage.pool.database import Database
    from shared.storage.schema.compatibility import Schema

_UNREAD_SCHEMA_IMPACT: Final = "Work goes on with the schema that was read last; changes to it are not seen."


class KnownSchema:
    """The schema that was read last; a failure to read it changes nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._schema: Schema | None = None
        self._failure = UnavailableError("the schema was not read yet")
        self._was_asked = asyncio.Event()

    async def read(self) -> None:
        """Read the schema of the database.

        Raises:
            UnavailableError: It can't be read now.
        """
        try:
            async with self._database.connection() as connection:
                self._schema = await read_schema(connection)
        except UnavailableError as error:
            self._failure = error
            raise
        finally:
            self._was_asked.set()

    async def check(self) -> None:
        """Return if this code works with the schema that was read last; does no I/O.

        Raises:
            ConfigurationError: As `check_schema`.
            UnavailableError: As `check_schema`; or the schema could not be read since the process began.
        """
        await self._was_asked.wait()
        if self._schema is None:
            raise self._failure.copy()
        self._schema.check()


def health_parts_of_schema(database: Database, *, impact: str) -> dict[str, HealthPart]:
    """Two readiness parts: the schema can be read, and the one that was read last fits.

    Args:
        database: To read the schema of.
        impact: The consequence for users if the schema does not fit.
    """
    schema = KnownSchema(database)
    return {
        "schema_check": HealthPart(
            check=schema.read, impact=_UNREAD_SCHEMA_IMPACT, is_logged=False, fails_after_s=math.inf
        ),
        "schema": HealthPart(check=schema.check, impact=impact, is_in_memory=True, is_logged=False),
    }
