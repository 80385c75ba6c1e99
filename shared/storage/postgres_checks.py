"""Readiness checks: whether PostgreSQL takes what a service writes, on a session as its requests have it.

Each has PostgreSQL carry out the very statements of the service, for nothing: a session, a server or a role
that may not write refuses them as it would refuse the others. What shows only with data, such as a full disk,
is remembered of what was written last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from shared.storage.postgres_ecgs import PostgresEcgStore
from shared.storage.postgres_outbox import PostgresOutbox
from shared.storage.postgres_submissions import add_none

if TYPE_CHECKING:
    from shared.storage.postgres import Database

_NO_CLAIM: Final = UUID(int=0)


async def check_submissions(database: Database) -> None:
    """Return if submissions can be kept.

    Raises:
        UnavailableError: They can't, for this reason.
    """
    async with database.connection() as connection:
        await add_none(connection)
    database.check_writes()


async def check_results(database: Database) -> None:
    """Return if ECGs can be claimed and settled, and their events cleared.

    Raises:
        UnavailableError: They can't, for this reason.
    """
    store = PostgresEcgStore(database)
    await store.claim([], claim_id=_NO_CLAIM)
    await store.settle([])
    await PostgresOutbox(database).clear([])
    database.check_writes()
