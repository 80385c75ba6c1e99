"""Readiness checks: whether PostgreSQL executes the statements of a service, in sessions like its requests'.

Each executes the service's own statements without any data: a session, a server or a role that may not write
refuses them as it would refuse real ones. Failures that need data, such as a full disk, are remembered from
the last real write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from shared.domain.account import Account
from shared.ports.logins import Login
from shared.storage.pool.database import RECORDINGS, RESULTS, SUBMISSIONS
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.event_source import PostgresEventSource
from shared.storage.postgres.logins import PostgresLoginStore
from shared.storage.postgres.operators.intake import PostgresIntake
from shared.storage.postgres.operators.operations import dry_run_replay
from shared.storage.postgres.outbox import PostgresOutbox
from shared.storage.postgres.owned_ecgs import dry_run_erase
from shared.storage.postgres.recordings import dry_run_add_recording
from shared.storage.postgres.submissions import dry_run_add

if TYPE_CHECKING:
    from shared.storage.pool.database import Database

_NO_CLAIM: Final = UUID(int=0)
_NOBODY: Final = Account("", "", frozenset())
_NO_LOGIN: Final = Login(id=UUID(int=0), account=_NOBODY, token_hash=b"", lifetime_s=0)


async def check_submissions(database: Database) -> None:
    """Return if submissions can be stored.

    Raises:
        UnavailableError: They can't, for this reason.
    """
    async with database.connection() as connection:
        await dry_run_add(connection)
    await database.check_writes(SUBMISSIONS)


async def check_recordings(database: Database) -> None:
    """Return if recordings, which are stored in parts, can be stored.

    Raises:
        UnavailableError: They can't, for this reason.
    """
    async with database.connection() as connection:
        await dry_run_add_recording(connection)
    await database.check_writes(RECORDINGS)


async def check_reading(database: Database) -> None:
    """Return if results can be read.

    Raises:
        UnavailableError: They can't, for this reason.
    """
    await PostgresEcgStore(database).find([])


async def check_erasures(database: Database) -> None:
    """Return if ECGs can be erased with an event.

    Raises:
        UnavailableError: They can't, for this reason.
    """
    await PostgresEventSource(database).uri()
    async with database.connection() as connection:
        await dry_run_erase(connection)


async def check_accounts(database: Database) -> None:
    """Return if accounts can be read, added and changed, and logins added, rotated and ended.

    Raises:
        UnavailableError: They can't, for this reason.
    """
    accounts, logins = PostgresAccountStore(database), PostgresLoginStore(database)
    await accounts.recent_changes()
    await accounts.add(_NOBODY)
    await accounts.rehash(_NOBODY, "")
    await logins.add(_NO_LOGIN)
    await logins.rotate(_NO_LOGIN.id, spent=b"", fresh=b"")
    await logins.end(_NO_LOGIN.id)


async def check_results(database: Database) -> None:
    """Return if ECGs can be claimed and settled, and their events cleared.

    Raises:
        UnavailableError: They can't, for this reason.
    """
    store = PostgresEcgStore(database)
    await store.claim([], claim_id=_NO_CLAIM)
    await store.load([])
    await PostgresEventSource(database).uri()
    await store.settle([])
    await PostgresOutbox(database).clear([])
    await database.check_writes(RESULTS)


async def check_operations(database: Database) -> None:
    """Return if ECGs can be replayed and that be recorded, and the intake be read.

    Raises:
        UnavailableError: They can't, for this reason.
    """
    await dry_run_replay(database)
    await PostgresIntake(database).read()
