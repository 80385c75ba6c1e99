"""Administration of PostgreSQL while a service runs: the service waits, and works again afterwards."""

from __future__ import annotations

import asyncio
import math
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import pytest
from asyncpg.exceptions import InternalClientError

from shared.domain.errors import UnavailableError
from shared.domain.recording import recording_of
from shared.events import failed_event
from shared.ports.ecgs import RecordingSubmission, Settlement
from shared.runtime import outages
from shared.storage.pool import database as postgres
from shared.storage.pool.database import RECORDINGS, RESULTS, SUBMISSIONS, open_database
from shared.storage.pool.errors import translated
from shared.storage.postgres.checks import (
    check_accounts,
    check_erasures,
    check_reading,
    check_recordings,
    check_results,
    check_submissions,
)
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.recordings import PostgresRecordingStore
from shared.storage.schema.compatibility import check_schema_of
from shared.storage.schema.known_schema import KnownSchema
from tests.support.builders import SOURCE, a_submission, an_ecg
from tests.support.databases import open_empty_database
from tests.support.logs import capture_logs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from shared.storage.pool.database import Database

_LIMIT_S: Final = 30
_END_SESSIONS: Final = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND (
    usename = '{role}' OR datname IN ('{database}', '{database}_away')
)
"""
_UNDEFINED_COLUMN: Final = "SELECT nothing FROM ecg"
_GRANTS: Final = (
    "GRANT CONNECT ON DATABASE {database} TO {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
)


Check: TypeAlias = "Callable[[Database], Awaitable[None]]"


class Harm(NamedTuple):
    """An operation of an administrator, its reversal, and PostgreSQL's error in between."""

    done: tuple[str, ...]
    undone: tuple[str, ...]
    reason: str


_HARMS: Final = {
    "the database is read-only": Harm(
        ("ALTER DATABASE {database} SET default_transaction_read_only = on",),
        ("ALTER DATABASE {database} RESET default_transaction_read_only",),
        "in a read-only transaction (25006)",
    ),
    "the role is read-only": Harm(
        ("ALTER ROLE {role} SET default_transaction_read_only = on",),
        ("ALTER ROLE {role} RESET ALL",),
        "in a read-only transaction (25006)",
    ),
    "privileges are revoked": Harm(
        ("REVOKE INSERT, UPDATE ON ecg FROM {role}",), _GRANTS, "permission denied for table ecg (42501)"
    ),
    "the role may not log in": Harm(
        ("ALTER ROLE {role} NOLOGIN",), ("ALTER ROLE {role} LOGIN",), "is not permitted to log in (28000)"
    ),
    "the role has no connections left": Harm(
        ("ALTER ROLE {role} CONNECTION LIMIT 0",),
        ("ALTER ROLE {role} CONNECTION LIMIT -1",),
        "too many connections for role",
    ),
    "the role may not connect": Harm(
        ("REVOKE CONNECT ON DATABASE {database} FROM {role}, public",),
        _GRANTS,
        "permission denied for database",
    ),
    "the database takes no connections": Harm(
        ("ALTER DATABASE {database} ALLOW_CONNECTIONS false",),
        ("ALTER DATABASE {database} ALLOW_CONNECTIONS true",),
        "is not currently accepting connections (55000)",
    ),
    "the database is renamed": Harm(
        ("ALTER DATABASE {database} RENAME TO {database}_away",),
        ("ALTER DATABASE {database}_away RENAME TO {database}",),
        "does not exist (3D000)",
    ),
    "the role is dropped": Harm(
        ("DROP OWNED BY {role}", "DROP ROLE {role}"),
        ("CREATE ROLE {role} LOGIN", *_GRANTS),
        "does not exist (28000)",
    ),
    "sessions look into another schema": Harm(
        ("ALTER ROLE {role} SET search_path = nowhere",),
        ("ALTER ROLE {role} RESET ALL",),
        'relation "ecg" does not exist (42P01)',
    ),
    "sessions are of another role": Harm(
        ("GRANT pg_monitor TO {role}", "ALTER ROLE {role} SET role = pg_monitor"),
        ("ALTER ROLE {role} RESET ALL",),
        "permission denied for",
    ),
    "a table is away": Harm(
        ("ALTER TABLE ecg RENAME TO ecg_away",),
        ("ALTER TABLE ecg_away RENAME TO ecg",),
        'relation "ecg" does not exist (42P01)',
    ),
}


class Operator:
    """The administrator of the server; the service has a role of its own that owns nothing."""

    def __init__(self, url: str, server_url: str, role: str) -> None:
        self._url = url
        self._server_url = server_url
        self._names = {"role": role, "database": urlsplit(url).path.removeprefix("/")}

    async def do(self, *statements: str, ends_sessions: bool = True) -> None:
        """Carry these out; sessions of the service that are open end, so that others take their place."""
        if ends_sessions:
            await self._execute(_END_SESSIONS)
        for statement in statements:
            await self._execute(statement)
        if ends_sessions:
            await self._execute(_END_SESSIONS)

    async def _execute(self, statement: str) -> None:
        is_of_tables = "DATABASE" not in statement and "pg_stat_activity" not in statement
        connection = await asyncpg.connect(self._url if is_of_tables else self._server_url, timeout=10)
        try:
            await connection.execute(statement.format(**self._names))
        finally:
            await connection.close(timeout=5)


class Service(NamedTuple):
    """A database as a service has it, and its operator."""

    database: Database
    operator: Operator


@pytest.fixture
async def service(postgres_url: str, template_database: str) -> AsyncIterator[Service]:
    role = f"isoline_test_{secrets.token_hex(6)}"
    async with open_empty_database(postgres_url, template=template_database) as url:
        operator = Operator(url, postgres_url, role)
        await operator.do(f"CREATE ROLE {role} LOGIN", *_GRANTS)
        try:
            async with asyncio.timeout(_LIMIT_S), open_database(_as(role, url)) as database:
                yield Service(database, operator)
        finally:
            await operator.do(f"DROP OWNED BY {role}", f"DROP ROLE {role}")


@pytest.mark.parametrize("harm", _HARMS.values(), ids=_HARMS.keys())
async def test_operations_of_an_administrator_are_a_temporary_unavailability(
    service: Service, harm: Harm
) -> None:
    checks = (check_submissions, check_results)
    for check in checks:
        await check(service.database)

    await service.operator.do(*harm.done)
    reasons = [await _refusal(check, service.database) for check in checks * 2]
    await service.operator.do(*harm.undone, ends_sessions=False)

    assert all(harm.reason in reason for reason in reasons)
    assert await _failures_until(check_submissions, service.database) <= 1  # on a session from before
    await check_results(service.database)


@pytest.mark.parametrize(
    ("privilege", "check"),
    [
        ("SELECT ON account", check_accounts),
        ("INSERT ON account", check_accounts),
        ("UPDATE ON account", check_accounts),
        ("INSERT ON login", check_accounts),
        ("UPDATE ON login", check_accounts),
        ("DELETE ON login", check_accounts),
        ("SELECT ON ecg", check_reading),
        ("SELECT ON ecg_insights", check_reading),
        ("DELETE ON ecg_signal", check_erasures),
        ("DELETE ON ecg_insights", check_erasures),
        ("INSERT ON outbox", check_erasures),
        ("INSERT ON ecg_signal", check_submissions),
        ("SELECT ON ecg_signal", check_results),
    ],
)
async def test_each_privilege_that_a_service_lacks_is_seen_by_the_check_of_its_part(
    service: Service, privilege: str, check: Check
) -> None:
    await check(service.database)

    await service.operator.do(f"REVOKE {privilege} FROM {{role}}", ends_sessions=False)
    reason = await _refusal(check, service.database)
    await service.operator.do(*_GRANTS, ends_sessions=False)

    table = privilege.rpartition(" ")[2]
    assert reason == f"PostgreSQL: permission denied for table {table} (42501)"
    await check(service.database)


async def test_a_schema_that_can_not_be_read_any_more_is_the_one_that_was_read_last(service: Service) -> None:
    schema = KnownSchema(service.database)
    await schema.read()

    await service.operator.do("REVOKE SELECT ON _pogo_migration FROM {role}", ends_sessions=False)
    with pytest.raises(UnavailableError, match="permission denied for table _pogo_migration"):
        await schema.read()
    await schema.check()
    await service.operator.do(*_GRANTS, "DELETE FROM _pogo_migration", ends_sessions=False)
    await schema.read()

    with pytest.raises(UnavailableError, match="run `isoline migrate`"):
        await schema.check()


async def test_a_schema_that_was_never_read_is_not_taken_for_right(service: Service) -> None:
    schema = KnownSchema(service.database)
    await service.operator.do("REVOKE SELECT ON _pogo_migration FROM {role}", ends_sessions=False)

    with pytest.raises(UnavailableError):
        await schema.read()

    with pytest.raises(UnavailableError, match="permission denied for table _pogo_migration"):
        await schema.check()


async def test_checks_write_nothing(service: Service) -> None:
    count = "SELECT (SELECT count(*) FROM {}) + (SELECT count(*) FROM account) + (SELECT count(*) FROM login)"
    for check in (check_accounts, check_erasures, check_reading, check_results, check_submissions):
        await check(service.database)

    assert await _ask(service.database, count.format("outbox")) == 0
    assert await _ask(service.database, count.format("ecg")) == 0


@pytest.mark.parametrize(
    "error",
    [
        InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
        asyncpg.InterfaceError("cannot call Connection.fetch(): connection has been released"),
    ],
)
def test_words_of_the_librarys_inside_are_a_lost_connection(error: Exception) -> None:
    assert str(translated(error, is_lost=True)) == "PostgreSQL: the connection was lost"


async def test_a_table_that_a_role_can_not_see_may_be_missing_or_out_of_its_sight(service: Service) -> None:
    await service.operator.do("ALTER ROLE {role} SET search_path = nowhere")

    reason = await _refusal(check_reading, service.database)

    assert reason == (
        'PostgreSQL: relation "ecg" does not exist (42P01); '
        "run `isoline migrate`, or give the role its search_path and rights"
    )


async def test_sessions_that_read_well_on_a_read_only_server_do_not_outlive_it(service: Service) -> None:
    harm = _HARMS["the database is read-only"]
    await service.operator.do(*harm.done)
    await asyncio.gather(*(_ask(service.database, "SELECT pg_sleep(0.1)") for _ in range(5)))
    await service.operator.do(*harm.undone, ends_sessions=False)

    assert await _failures_until(check_submissions, service.database) == 1
    results = await asyncio.gather(
        *(check_submissions(service.database) for _ in range(5)), return_exceptions=True
    )
    assert results == [None] * 5


@pytest.mark.parametrize(
    ("statement", "setting"),
    [
        ("SELECT pg_sleep(5)", "statement_timeout = '50ms'"),
        ("SELECT count(*) FROM ecg", "lock_timeout = '50ms'"),
    ],
)
async def test_a_time_limit_of_the_role_is_not_kept_when_it_is_reset(
    service: Service, statement: str, setting: str
) -> None:
    await service.operator.do(f"ALTER ROLE {{role}} SET {setting}")
    locking = await asyncpg.connect(service.operator._url, timeout=10)
    async with locking.transaction():
        await locking.execute("LOCK TABLE ecg")
        with pytest.raises(UnavailableError, match="timeout"):
            await _ask(service.database, statement)
    await locking.close()
    await service.operator.do("ALTER ROLE {role} RESET ALL", ends_sessions=False)

    setting_name = setting.partition(" ")[0]
    assert await _ask(service.database, f"SHOW {setting_name}") == "0"


@pytest.mark.parametrize("statement", ["DISCARD ALL", "DEALLOCATE ALL"])
async def test_a_session_that_lost_its_statements_is_replaced(service: Service, statement: str) -> None:
    await check_submissions(service.database)
    await _ask(service.database, statement)

    assert await _failures_until(check_submissions, service.database) <= 1


async def test_an_error_of_a_statement_leaves_the_session(service: Service) -> None:
    before = await _ask(service.database, "SELECT pg_backend_pid()")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await _ask(service.database, "SELECT 1 / 0")

    assert await _ask(service.database, "SELECT pg_backend_pid()") == before


@pytest.mark.parametrize(
    ("statement", "arguments"),
    [
        ("SELECT nothing FROM", ()),
        ("SELECT 'x'::integer", ()),
        ("SELECT $1::integer", ("x",)),
        ("SELECT $1::integer", ()),
        ("INSERT INTO ecg (owner) VALUES ('ada')", ()),
        ("SELECT nothing(1)", ()),
    ],
)
async def test_a_defect_of_ours_stays_loud(
    service: Service, statement: str, arguments: tuple[object, ...]
) -> None:
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        async with service.database.connection() as connection:
            await connection.fetchval(statement, *arguments)


async def test_a_column_that_is_not_there_is_waited_for_until_the_schema_is_as_it_should_be(
    database_url: str,
) -> None:
    async with (
        asyncio.timeout(_LIMIT_S),
        open_database(database_url, check_schema=check_schema_of) as database,
    ):
        with pytest.raises(asyncpg.UndefinedColumnError):
            await _ask(database, _UNDEFINED_COLUMN)
        await _ask(database, "DELETE FROM _pogo_migration")
        with pytest.raises(UnavailableError, match=r"does not exist \(42703\)"):
            await _ask(database, _UNDEFINED_COLUMN)


async def test_a_refused_write_is_remembered_until_one_succeeds_or_for_15_s(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnavailableError):
        await _fill_the_disk(service.database)

    assert "no space left" in await _refusal(check_submissions, service.database)
    async with service.database.connection(writes=SUBMISSIONS) as connection:
        await connection.execute("SELECT 1")
    await check_submissions(service.database)
    with pytest.raises(UnavailableError):
        await _fill_the_disk(service.database)
    monkeypatch.setattr(postgres, "REFUSAL_LASTS_S", 0)
    await check_submissions(service.database)


@pytest.mark.parametrize(
    ("writes", "check"),
    [(SUBMISSIONS, check_submissions), (RECORDINGS, check_recordings), (RESULTS, check_results)],
)
async def test_a_refusal_of_one_kind_of_writes_is_not_reported_for_others(
    service: Service, writes: str, check: Check
) -> None:
    with pytest.raises(UnavailableError):
        await _fill_the_disk(service.database, writes)

    assert "no space left" in await _refusal(check, service.database)
    for other in {check_submissions, check_recordings, check_results} - {check}:
        await other(service.database)


async def test_a_refused_result_is_remembered_by_checks_that_settle_nothing(
    service: Service,
) -> None:
    store = PostgresEcgStore(service.database)
    keys = [receipt.key for receipt in await store.add([a_submission("10")])]
    [claim] = (await store.claim(keys, claim_id=uuid4())).claimed
    event = failed_event(claim.key, "why", source=SOURCE, now=datetime.now(UTC), traceparent=None)
    await service.operator.do(
        "CREATE FUNCTION fill_the_disk() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE 'no space left on device' USING ERRCODE = 'disk_full'; END $$",
        "CREATE TRIGGER full_disk BEFORE UPDATE ON ecg FOR EACH ROW EXECUTE FUNCTION fill_the_disk()",
        ends_sessions=False,
    )

    with pytest.raises(UnavailableError):
        await store.settle([Settlement(claim, event, error="why")])

    for _ in range(2):
        assert "no space left" in await _refusal(check_results, service.database)
    await service.operator.do("DROP TRIGGER full_disk ON ecg", ends_sessions=False)
    await store.settle([Settlement(claim, event, error="why")])
    await check_results(service.database)


@pytest.mark.parametrize(
    ("privilege", "check"),
    [
        ("INSERT ON ecg", check_submissions),
        ("INSERT ON ecg_signal", check_submissions),
        ("INSERT ON recording", check_recordings),
        ("SELECT ON recording", check_recordings),
        ("UPDATE ON recording", check_recordings),
        ("INSERT ON recording_part", check_recordings),
    ],
)
async def test_a_privilege_that_is_given_back_is_known_at_once(
    service: Service, privilege: str, check: Check
) -> None:
    await service.operator.do(f"REVOKE {privilege} FROM {{role}}", ends_sessions=False)
    assert "permission denied" in await _refusal(check, service.database)
    recording = recording_of(an_ecg(), block_samples=2)
    with suppress(UnavailableError):
        await PostgresEcgStore(service.database).add([a_submission("10")])
    with suppress(UnavailableError):
        await PostgresRecordingStore(service.database).add(RecordingSubmission("bob", recording))

    await service.operator.do(f"GRANT {privilege} TO {{role}}", ends_sessions=False)

    await check_submissions(service.database)
    await check_recordings(service.database)


async def test_a_commit_that_waits_for_a_standby_is_remembered_until_it_need_not(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Statements without data succeed meanwhile."""
    monkeypatch.setattr(postgres, "_COMMIT_WITHIN_S", 0.2)
    monkeypatch.setattr(postgres, "REFUSAL_LASTS_S", math.inf)
    await service.operator.do("ALTER ROLE {role} SET synchronous_commit = on")
    await service.operator.do("ALTER SYSTEM SET synchronous_standby_names = 'nobody'", ends_sessions=False)
    try:
        await service.operator.do("SELECT pg_reload_conf()", ends_sessions=False)
        with pytest.raises(UnavailableError):
            await _write_until_one_waits(service.database)
        meanwhile = [await _refusal(check_submissions, service.database) for _ in range(3)]
    finally:
        await service.operator.do("ALTER SYSTEM RESET synchronous_standby_names", ends_sessions=False)
        await service.operator.do("SELECT pg_reload_conf()", ends_sessions=False)

    assert meanwhile == ["PostgreSQL: no answer in time"] * 3
    await _failures_until(check_submissions, service.database)


async def test_a_write_that_waits_for_ever_is_remembered_for_as_long_as_commits_do(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_COMMIT_WITHIN_S", 0.05)
    monkeypatch.setattr(postgres, "_COMMIT", "SELECT pg_sleep(60)")
    with pytest.raises(UnavailableError):
        await _wait_for_ever(service.database)

    assert await _refusal(check_submissions, service.database) == "PostgreSQL: no answer in time"
    written_s = service.database._refusals[SUBMISSIONS].at_s
    await _refusal(check_submissions, service.database)
    assert service.database._refusals[SUBMISSIONS].at_s > written_s


async def test_a_write_that_waited_for_something_of_its_own_is_no_reason_to_take_no_others(
    service: Service,
) -> None:
    with pytest.raises(UnavailableError):
        await _wait_for_ever(service.database)

    await check_submissions(service.database)


async def test_a_role_that_may_not_test_a_commit_relies_on_the_remembered_refusal(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_COMMIT", "SELECT pg_read_file('PG_VERSION')")
    with pytest.raises(UnavailableError):
        await _wait_for_ever(service.database)

    assert await _refusal(check_submissions, service.database) == "PostgreSQL: no answer in time"
    monkeypatch.setattr(postgres, "REFUSAL_LASTS_S", 0)
    await check_submissions(service.database)


async def test_a_write_that_fails_is_not_over_when_others_read(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "QUIET_S", 0)
    with capture_logs() as records:
        with pytest.raises(UnavailableError):
            await _fill_the_disk(service.database)
        await _ask(service.database, "SELECT 1")
    assert [record["message"] for record in records] == ["not available"]

    with capture_logs() as records:
        async with service.database.connection(writes=SUBMISSIONS) as connection:
            await connection.execute("SELECT 1")
    assert [record["message"] for record in records] == ["available again"]


async def test_each_reason_is_logged_once_and_its_end_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outages, "QUIET_S", 0)
    harm = _HARMS["the role may not log in"]
    with capture_logs() as records:
        await service.operator.do(*harm.done)
        for _ in range(5):
            await _refusal(check_submissions, service.database)
        await service.operator.do(*harm.undone)
        await check_submissions(service.database)
        await check_submissions(service.database)

    begun, ended = records
    assert begun["message"] == "not available"
    assert harm.reason in begun["reason"]
    assert ended["message"] == "available again"
    assert ended["reasons"] == [begun["reason"]]


def _as(role: str, url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}@{parts.netloc.rpartition('@')[2]}"))


async def _ask(database: Database, statement: str) -> object:
    async with database.connection() as connection:
        return await connection.fetchval(statement)


async def _refusal(check: Check, database: Database) -> str:
    with pytest.raises(UnavailableError) as caught:
        await check(database)
    return str(caught.value)


async def _failures_until(check: Check, database: Database) -> int:
    """How often the check fails before it passes."""
    failures = 0
    while True:
        try:
            await check(database)
        except UnavailableError:
            failures += 1
        else:
            return failures


async def _write_until_one_waits(database: Database) -> None:
    async with database.connection(writes=SUBMISSIONS) as connection:
        while True:  # a session reloads its settings after a while
            await connection.execute("INSERT INTO recording DEFAULT VALUES", timeout=0.2)


async def _wait_for_ever(database: Database) -> None:
    async with database.connection(writes=SUBMISSIONS) as connection:
        await connection.execute("SELECT pg_sleep(60)", timeout=0.05)


async def _fill_the_disk(database: Database, writes: str = SUBMISSIONS) -> None:
    async with database.connection(writes=writes) as connection:
        await connection.execute(
            "DO $$ BEGIN RAISE 'no space left on device' USING ERRCODE = 'disk_full'; END $$"
        )
