"""Readiness checks: whether PostgreSQL carries out what a service asks, on a session as its requests have it.

Each has PostgreSQL carry out the very statements of the service, for nothing: a session, a server or a role
that may not write refuses them as it would refuse the others. What shows only with data, such as a full disk,
is remembered of what was written last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from shared.domain.account import Account
from shared.ports.logins import Login
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.postgres.database import RECORDINGS, RESULTS, SUBMISSIONS
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.installation import PostgresInstallation
from shared.storage.postgres.logins import PostgresLoginStore
from shared.storage.postgres.outbox import PostgresOutbox
from shared.storage.postgres.owned_ecgs import erase_none
from shared.storage.postgres.recordings import add_no_recording
from shared.storage.postgres.submissions import add_none

if TYPE_CHECKING:
    from shared.storage.postgres.database import Database

_NO_CLAIM: Final = UUID(int=0)
_NOBODY: Final = Account("", "", frozenset())
_NO_LOGIN: Final = Login(id=UUID(int=0), account=_NOBODY, token_hash=b"", lifetime_s=0)


async def check_submissions(database: Database) -> None:
    """Return if submissions can be kept.

    Raises:
        UnavailableError: They can't, for this reason.
    """
    async with database.connection() as connection:
        await add_none(connection)
    await database.check_writes(SUBMISSIONS)


async def check_recordings(database: Database) -> None:
    """Return if ECGs can be kept that are stored in parts, for their length.

    Raises:
        UnavailableError: They can't, for this reason.
    """
    async with database.connection() as connection:
        await add_no_recording(connection)
    await database.check_writes(RECORDINGS)


async def check_reading(database: Database) -> None:
    """Return if results can be read.

    Raises:
        UnavailableError: They can't, for this reason.
    """
    await PostgresEcgStore(database).find([])


async def check_erasures(database: Database) -> None:
    """Return if ECGs can be erased, and events tell of it.

    Raises:
        UnavailableError: They can't, for this reason.
    """
    await PostgresInstallation(database).source()
    async with database.connection() as connection:
        await erase_none(connection)


async def check_accounts(database: Database) -> None:
    """Return if accounts can be looked up, made and changed, and logins begin, go on and end.

    Raises:
        UnavailableError: They can't, for this reason.
    """
    accounts, logins = PostgresAccountStore(database), PostgresLoginStore(database)
    await accounts.recent_changes()
    await accounts.add(_NOBODY)
    await accounts.rehash(_NOBODY, "")
    await logins.add(_NO_LOGIN)
    await logins.rotate(_NO_LOGIN.id, spent=b"", fresh=b"")


async def check_results(database: Database) -> None:
    """Return if ECGs can be claimed and settled, and their events cleared.

    Raises:
        UnavailableError: They can't, for this reason.
    """
    store = PostgresEcgStore(database)
    await store.claim([], claim_id=_NO_CLAIM)
    await store.load([])
    await PostgresInstallation(database).source()
    await store.settle([])
    await PostgresOutbox(database).clear([])
    await database.check_writes(RESULTS)
