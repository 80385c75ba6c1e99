"""Each service works with the privileges that `isoline db grant` gives, and has no others."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias
from uuid import uuid4

import asyncpg
import pytest

from shared.domain.account import Account, Role
from shared.domain.errors import ConfigurationError, UnavailableError
from shared.domain.recording import recording_of
from shared.events import EcgKey, deleted_event, processed_event
from shared.operations.overview import read_overview
from shared.ports.api_keys import NewApiKey
from shared.ports.ecgs import RecordingSubmission, Settlement
from shared.ports.logins import Login
from shared.ports.operators.operations import AuditNote, Selection
from shared.ports.operators.processes import Presence
from shared.ports.operators.retention import PrunedPage, PrunedShare
from shared.ports.operators.throughput import SettledCounts
from shared.ports.operators.webhook_counts import WebhookCounts
from shared.ports.outbox import Backoff
from shared.ports.webhook_dispatch import Attempt, AttemptedDelivery, Progress
from shared.ports.webhooks import NewWebhook, WebhookChange
from shared.service import Service
from shared.storage.pool.database import open_database
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.postgres.api_keys import PostgresApiKeyStore
from shared.storage.postgres.checks import (
    check_accounts,
    check_erasures,
    check_reading,
    check_recordings,
    check_results,
    check_submissions,
)
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.event_log import PostgresEventLog
from shared.storage.postgres.event_source import PostgresEventSource
from shared.storage.postgres.logins import PostgresLoginStore
from shared.storage.postgres.operators.audit import PostgresAudit
from shared.storage.postgres.operators.backlog import PostgresBacklogReader
from shared.storage.postgres.operators.finished_ecgs import PostgresFinishedEcgs
from shared.storage.postgres.operators.intake import PostgresIntake
from shared.storage.postgres.operators.operations import PostgresOperations
from shared.storage.postgres.operators.outbox_state import PostgresOutboxReader
from shared.storage.postgres.operators.overview import overview_sources
from shared.storage.postgres.operators.processes import PostgresProcesses
from shared.storage.postgres.operators.retention import PostgresRetention
from shared.storage.postgres.operators.throughput import PostgresThroughput
from shared.storage.postgres.operators.timelines import PostgresTimelines
from shared.storage.postgres.operators.webhook_counts import PostgresWebhookCounter
from shared.storage.postgres.outbox import PostgresOutbox
from shared.storage.postgres.owned_ecgs import PostgresOwnedEcgs
from shared.storage.postgres.recordings import PostgresRecordingStore
from shared.storage.postgres.webhooks.dispatch import PostgresWebhookDispatch
from shared.storage.postgres.webhooks.subscriptions import PostgresWebhookStore
from shared.storage.schema.compatibility import check_schema_of
from shared.storage.schema.grants import grant
from shared.storage.schema.migrations import migrate
from shared.storage.schema.privileges import TABLES
from tests.support.builders import SOURCE, AnEventSource, a_submission, an_ecg
from tests.support.databases import open_connection
from tests.support.roles import open_role, url_of_role

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from shared.domain.findings import JsonValue
    from shared.events import EventBatch
    from shared.storage.pool.database import Database

Check: TypeAlias = "Callable[[Database], Awaitable[None]]"

_CHECKS: Final[dict[Service, tuple[Check, ...]]] = {
    Service.GATEWAY: (check_submissions, check_recordings, check_reading, check_erasures, check_accounts),
    Service.PROCESSOR: (check_results,),
    Service.OPERATOR: (),
}
# An autoscaler connects by itself: tests/operations/test_kubernetes.py.
_SERVICES: Final = (Service.GATEWAY, Service.PROCESSOR, Service.OPERATOR)
_DOCUMENT: Final[dict[str, JsonValue]] = {"leads": [{"I": {"zero_crossings": 2}}], "insights": {}}
_BACKOFF: Final = Backoff(first_s=0.0, longest_s=60.0)


class Roles(NamedTuple):
    """The database with its owner, a role of each service by name, and the databases as these have them."""

    url: str
    names: dict[Service, str]
    databases: dict[Service, Database]


@pytest.fixture
async def roles(database_url: str) -> AsyncIterator[Roles]:
    """A migrated database with a role of each service, granted what it needs."""
    async with AsyncExitStack() as stack:
        names = {
            service: await stack.enter_async_context(open_role(database_url, service))
            for service in _SERVICES
        }
        await grant(database_url, {role: {service} for service, role in names.items()})
        databases = {
            service: await stack.enter_async_context(
                open_database(url_of_role(database_url, role), check_schema=check_schema_of)
            )
            for service, role in names.items()
        }
        yield Roles(database_url, names, databases)


async def execute(database: Database, statement: str) -> None:
    async with database.connection() as connection:
        await connection.execute(statement)


@pytest.mark.parametrize("service", _SERVICES)
async def test_a_service_passes_all_of_its_checks(service: Service, roles: Roles) -> None:
    for check in _CHECKS[service]:
        await check(roles.databases[service])
    await PostgresBacklogReader(roles.databases[Service.GATEWAY]).read()
    await PostgresBacklogReader(roles.databases[Service.PROCESSOR]).read()
    await PostgresEventSource(roles.databases[service]).uri()


async def test_an_ecg_is_taken_measured_replayed_erased_and_taken_again(roles: Roles) -> None:
    gateway, processor, operator = (roles.databases[service] for service in _SERVICES)
    now = datetime.now(UTC)

    async def measure(generation: int, *, taken: PostgresEcgStore) -> EventBatch:
        key = EcgKey("ada", "10", generation)
        [claim] = (await taken.claim([key], claim_id=uuid4(), load_samples=1_000)).claimed
        await taken.load([claim])
        event = processed_event(key, {}, source=SOURCE, now=now, traceparent=None)
        return await taken.settle([Settlement(claim, event, document={"leads": []})])

    await PostgresEcgStore(gateway).add([a_submission("10")])
    first = await measure(1, taken=PostgresEcgStore(processor))
    operations = PostgresOperations(operator)
    replayed = await operations.replay(
        Selection(owner="ada"),
        AuditNote("olga", "why"),
        finished_before=await operations.now(),
        limit=10,
    )
    await PostgresOutbox(processor).put_back_ecgs(replayed)
    await PostgresEcgStore(processor).postpone(replayed, delay_s=0, reason="why")
    await PostgresOutbox(processor).take_due_ecgs(10, _BACKOFF)
    second = await measure(2, taken=PostgresEcgStore(processor))
    [state] = (await PostgresEcgStore(gateway).find([("ada", "10")])).values()
    page = await PostgresOwnedEcgs(gateway).page("ada", limit=10)
    erased = await PostgresOwnedEcgs(gateway).erase(
        "ada", "10", event_of=lambda key: deleted_event(key, source=SOURCE, now=now, traceparent=None)
    )
    [receipt] = await PostgresEcgStore(gateway).add([a_submission("10")])
    await PostgresOutbox(processor).take_due_events(10, _BACKOFF)
    await PostgresOutbox(processor).keep_unconfirmed(second)
    await PostgresOutbox(processor).clear([first.id])
    await PostgresOutbox(processor).drop_unrouted([second.id])
    assert erased is not None
    await PostgresOutbox(gateway).keep_unconfirmed(erased)
    await PostgresOutbox(gateway).drop_unrouted([erased.id])
    await PostgresOutbox(gateway).clear([erased.id])

    assert state.generation == 2
    assert [summary.id for summary in page] == ["10"]
    assert receipt.key.generation == 3


async def test_attempts_are_noted_by_processors_kept_by_operators_and_erased_by_gateways(
    roles: Roles,
) -> None:
    gateway, processor, operator = (roles.databases[service] for service in _SERVICES)
    store, operations = PostgresEcgStore(processor), PostgresOperations(operator)
    [receipt] = await PostgresEcgStore(gateway).add([a_submission("10")])
    keys = [receipt.key]

    await store.claim(keys, claim_id=uuid4())
    await store.claim(keys, claim_id=uuid4(), tried_before=True)
    await store.postpone(keys, delay_s=0, reason="why")
    [claim] = (await store.claim(keys, claim_id=uuid4(), tried_before=True)).claimed
    now = datetime.now(UTC)
    event = processed_event(claim.key, {}, source=SOURCE, now=now, traceparent=None)
    await store.settle([Settlement(claim, event, document={"leads": []})])
    await operations.replay(
        Selection(owner="ada"), AuditNote("olga", "why"), finished_before=await operations.now(), limit=10
    )
    timeline = await PostgresTimelines(operator, PostgresEventSource(operator)).read("ada", "10")
    await PostgresOwnedEcgs(gateway).erase(
        "ada", "10", event_of=lambda key: deleted_event(key, source=SOURCE, now=now, traceparent=None)
    )

    assert timeline is not None
    assert [moment.what for moment in timeline.moments].count("attempt") == 3
    async with gateway.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM attempt") == 0


async def test_a_long_ecg_is_taken_by_one_role_and_read_by_the_other(roles: Roles) -> None:
    recording = recording_of(an_ecg(), block_samples=2)
    store = PostgresEcgStore(roles.databases[Service.PROCESSOR])

    receipt = await PostgresRecordingStore(roles.databases[Service.GATEWAY]).add(
        RecordingSubmission("ada", recording)
    )
    [claim] = (await store.claim([receipt.key], claim_id=uuid4())).claimed
    loaded = await store.load([claim])

    [ecg] = [stored.decode() for stored in loaded.values()]
    assert ecg.header == an_ecg().header
    await PostgresOwnedEcgs(roles.databases[Service.GATEWAY]).erase(
        "ada",
        ecg.header.id,
        event_of=lambda key: deleted_event(key, source=SOURCE, now=datetime.now(UTC), traceparent=None),
    )
    async with open_connection(roles.url) as owner:
        assert await owner.fetchval("SELECT count(*) FROM recording_part") == 0


async def test_accounts_and_logins_are_the_gateways(roles: Roles) -> None:
    database = roles.databases[Service.GATEWAY]
    accounts, logins = PostgresAccountStore(database), PostgresLoginStore(database)
    ada = Account("ada", "hash", frozenset({Role.USER}))
    login = Login(id=uuid4(), account=ada, token_hash=b"1", lifetime_s=60)

    assert await accounts.add(ada)
    await logins.add(login)
    assert await logins.rotate(login.id, spent=b"1", fresh=b"2") is not None
    await logins.end(login.id)
    await accounts.rehash(ada, "other")
    assert await accounts.set_password("ada", "third")
    assert await accounts.set_roles("ada", [Role.ADMIN])
    assert await accounts.add(Account("bob", "hash", frozenset({Role.ADMIN})))
    assert await accounts.delete("ada")
    assert [account.name for account in await accounts.page(limit=10)] == ["bob"]


async def test_api_keys_are_the_gateways(roles: Roles) -> None:
    database = roles.databases[Service.GATEWAY]
    accounts, keys = PostgresAccountStore(database), PostgresApiKeyStore(database)
    await accounts.add(Account("ada", "hash", frozenset({Role.USER})))
    ids = []
    for secret in (b"1", b"2"):
        ids.append(uuid4())
        new = NewApiKey(ids[-1], "ada", "a monitor", "isk_01234567", secret, frozenset([Role.USER]), 60)
        assert await keys.add(new, limit=2) is not None

    await keys.record_uses({ids[0]: datetime.now(UTC)})
    assert await keys.find(b"1") is not None
    assert await keys.revoke(ids[0], account="ada") == "ada"
    assert [key.id for key in await keys.keys_of("ada")] == [ids[1]]
    assert await accounts.set_roles("ada", [Role.ADMIN])
    await accounts.add(Account("bob", "hash", frozenset({Role.ADMIN})))
    assert await accounts.delete("ada")
    assert await keys.keys_of("ada") == []


async def test_an_operator_reads_and_does_all_that_the_operations_api_offers(roles: Roles) -> None:
    database, processor = roles.databases[Service.OPERATOR], roles.databases[Service.PROCESSOR]
    note, counts = AuditNote("olga", "why"), SettledCounts()
    counts.add(completed=3, failed=1, latencies_s=[0.02])

    assert await PostgresThroughput(processor).add(uuid4(), counts)
    assert (await PostgresIntake(database).change(note, is_paused=True)).is_paused
    assert (await PostgresIntake(processor).read()).is_paused
    overview = await read_overview(overview_sources(database, NoDeadLetters()))
    page = await PostgresFinishedEcgs(database).page(Selection(owner="ada"), limit=1)
    failures = await PostgresFinishedEcgs(database).failures(Selection(failed=True), limit=1)
    [record] = await PostgresAudit(database).page(limit=1)

    assert overview.throughput.hour.completed == 3
    assert (page.ecgs, failures.groups) == ([], [])
    assert record.what == "pause"
    assert await PostgresOutboxReader(database).waiting(limit=1) == []
    for service in (Service.GATEWAY, Service.PROCESSOR):
        with pytest.raises(UnavailableError, match="permission denied"):
            await PostgresIntake(roles.databases[service]).change(note, is_paused=False)


class NoDeadLetters:
    """Counts none: RabbitMQ has its own rights."""

    async def count(self) -> int:
        return 0


async def test_services_read_the_backlog_and_an_operator_the_timeline_of_an_ecg(roles: Roles) -> None:
    await PostgresEcgStore(roles.databases[Service.GATEWAY]).add([a_submission("10")])

    for service in (Service.GATEWAY, Service.PROCESSOR):
        assert (await PostgresBacklogReader(roles.databases[service]).read()).queued_ecgs == 1
    operators = roles.databases[Service.OPERATOR]
    for service in (Service.GATEWAY, Service.PROCESSOR):
        processes = PostgresProcesses(roles.databases[service])
        assert await processes.announce(Presence(uuid4(), service, 1, "host", "0.2.0"))
    assert len(await PostgresProcesses(operators).running()) == 2
    timeline = await PostgresTimelines(operators, PostgresEventSource(operators)).read("ada", "10")
    assert timeline is not None
    assert [moment.what for moment in timeline.moments] == ["submitted", "queued"]


async def test_a_gateway_keeps_webhooks_and_a_processor_sends_for_them(roles: Roles) -> None:
    gateway, processor = roles.databases[Service.GATEWAY], roles.databases[Service.PROCESSOR]
    store, dispatch = PostgresWebhookStore(gateway), PostgresWebhookDispatch(processor)
    await PostgresAccountStore(gateway).add(Account("ada", "a hash", frozenset([Role.USER])))
    types = frozenset(["ecg.processed"])
    new = NewWebhook(
        uuid4(), "ada", "https://example.org", "", types, of_all_owners=False, secret="x", after=None
    )
    assert await store.add(new, limit=1) is not None
    await store.rotate(new.id, "whsec_y", account="ada")
    await store.change(new.id, WebhookChange(is_enabled=True), account="ada")
    ecgs, now = PostgresEcgStore(processor), datetime.now(UTC)
    [receipt] = await PostgresEcgStore(gateway).add([a_submission("10")])
    [claim] = (await ecgs.claim([receipt.key], claim_id=uuid4(), tried_before=True)).claimed
    event = processed_event(claim.key, _DOCUMENT, source=SOURCE, now=now, traceparent=claim.traceparent)
    await ecgs.settle([Settlement(claim, event, document=_DOCUMENT)])

    [webhook] = await dispatch.lease(limit=1)
    log = PostgresEventLog(processor, AnEventSource())
    [logged] = (await log.read(None, limit=1, types=webhook.types, owner=webhook.owner)).events
    refused = Attempt(500, "answered 500", 0.1)
    sent = AttemptedDelivery(None, logged.position, event.id, event.type, logged.key, refused, 0.0)
    await dispatch.record(webhook, [sent], Progress(logged.position, is_taken=False))
    await store.change(new.id, WebhookChange(is_enabled=True), account="ada")
    [due] = await dispatch.due(webhook._replace(may_send=True), limit=1)
    assert due.position is not None
    assert await log.find([due.position]) == {logged.position: logged}
    again = sent._replace(delivery_id=due.id, key=None)
    await dispatch.record(webhook, [again], Progress(is_taken=True))
    await dispatch.release(webhook)
    await dispatch.forget_deliveries(days=1)
    assert await store.resend(new.id, due.id, account="ada") is not None
    await store.ping(new.id, uuid4(), account="ada")
    assert len(await store.deliveries(new.id, account="ada", before=None, state=None, limit=9)) == 2
    for database in roles.databases.values():
        assert (await PostgresWebhookCounter(database).count()) == WebhookCounts(1, 0, 0, 0)
    operators = roles.databases[Service.OPERATOR]
    timeline = await PostgresTimelines(operators, PostgresEventSource(operators)).read("ada", "10")
    assert timeline is not None
    assert "webhook" in {moment.what for moment in timeline.moments}
    assert await store.remove(new.id, account="ada")


async def test_a_processor_and_an_operator_erase_what_was_finished_long_ago_and_nothing_else(
    roles: Roles,
) -> None:
    before = datetime.now(UTC) - timedelta(days=2)
    for service in (Service.PROCESSOR, Service.OPERATOR):
        retention = PostgresRetention(roles.databases[service])
        assert await retention.prune(before, after_row=0, limit=10) == PrunedPage(0, None)
        await retention.prune_records()
    processors = PostgresRetention(roles.databases[Service.PROCESSOR])
    share = await processors.prune_shared(timedelta(days=2), limit=10, next_round_in=timedelta(minutes=1))

    assert share == PrunedShare(0, 0)


@pytest.mark.parametrize(
    ("service", "statement"),
    [
        (Service.GATEWAY, "INSERT INTO ecg_insights (row, generation, document) VALUES (1, 1, '{}')"),
        (Service.GATEWAY, "UPDATE ecg_insights SET document = '{}'"),
        (Service.GATEWAY, "UPDATE ecg_signal SET samples = ''"),
        (Service.GATEWAY, "UPDATE ecg SET owner = 'eve'"),
        (Service.GATEWAY, "DELETE FROM ecg"),
        (Service.GATEWAY, "SELECT prune_ecgs(now() - interval '1 year', 0, 1, 1, true)"),
        (Service.GATEWAY, "SELECT prune_records()"),
        (Service.GATEWAY, "DELETE FROM account"),
        (Service.GATEWAY, "TRUNCATE outbox"),
        (Service.GATEWAY, "DROP TABLE outbox"),
        (Service.GATEWAY, "CREATE TABLE mine ()"),
        (Service.GATEWAY, "SELECT FROM operation"),
        (Service.GATEWAY, "DELETE FROM _pogo_migration"),
        (Service.GATEWAY, "UPDATE installation SET source = ''"),
        (Service.PROCESSOR, "SELECT password_hash FROM account"),
        (Service.PROCESSOR, "SELECT token_hash FROM login"),
        (Service.PROCESSOR, "SELECT secret_hash FROM api_key"),
        (Service.OPERATOR, "SELECT secret_hash FROM api_key"),
        (Service.GATEWAY, "UPDATE api_key SET roles = '{operator}'"),
        (Service.GATEWAY, "UPDATE api_key SET secret_hash = ''"),
        (Service.PROCESSOR, "INSERT INTO account (name, password_hash, roles) VALUES ('eve', '', '{}')"),
        (Service.PROCESSOR, "INSERT INTO ecg (owner, id) VALUES ('ada', '1')"),
        (Service.PROCESSOR, "UPDATE ecg SET content_hash = ''"),
        (Service.PROCESSOR, "DELETE FROM ecg_signal"),
        (Service.PROCESSOR, "DELETE FROM ecg"),
        (Service.PROCESSOR, "SELECT FROM operation"),
        (Service.PROCESSOR, "UPDATE retention SET least_age = '0 days'"),
        (Service.PROCESSOR, "UPDATE ecg_insights SET document = '{}'"),
        (Service.PROCESSOR, "UPDATE webhook SET url = ''"),
        (Service.PROCESSOR, "INSERT INTO webhook (id) VALUES (gen_random_uuid())"),
        (Service.GATEWAY, "UPDATE webhook SET lease = NULL"),
        (Service.OPERATOR, "SELECT secret FROM webhook"),
        (Service.PROCESSOR, "DELETE FROM schema_compatibility"),
        (Service.OPERATOR, "SELECT samples FROM ecg_signal"),
        (Service.OPERATOR, "SELECT document FROM ecg_insights"),
        (Service.OPERATOR, "INSERT INTO ecg_insights (row, generation, document) VALUES (1, 1, '{}')"),
        (Service.OPERATOR, "UPDATE ecg_insights SET past_finished_at = now()"),
        (Service.OPERATOR, "SELECT bodies FROM outbox"),
        (Service.OPERATOR, "SELECT FROM account"),
        (Service.OPERATOR, "DELETE FROM ecg"),
        (Service.OPERATOR, "DELETE FROM operation"),
        (Service.OPERATOR, "UPDATE operation SET why = ''"),
    ],
)
async def test_a_service_may_do_nothing_that_it_need_not_do(
    service: Service, statement: str, roles: Roles
) -> None:
    with pytest.raises(UnavailableError, match=r"permission denied|must be owner"):
        await execute(roles.databases[service], statement)


async def test_each_table_is_some_services_or_no_service_may_use_it(database_url: str) -> None:
    async with open_connection(database_url) as connection:
        rows = await connection.fetch(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
            "AND relkind IN ('r', 'p') AND NOT relispartition"
        )

    others = {row["relname"] for row in rows}.difference(TABLES)

    assert {name for name in others if not name.startswith("_pogo")} == set(), (
        "say in shared/storage/schema/privileges.py which service does what with it"
    )


async def test_what_is_granted_is_said_and_granted_once(database_url: str) -> None:
    async with open_role(database_url, "processor") as role:
        [first] = await grant(database_url, {role: {Service.PROCESSOR}})
        [second] = await grant(database_url, {role: {Service.PROCESSOR}})

    assert "INSERT ON ecg_insights" in first.granted
    assert "UPDATE (due_at, event_ids) ON outbox" not in first.granted
    assert "UPDATE (bodies, due_at, event_ids, republished, types) ON outbox" in first.granted
    assert first.revoked == []
    assert (second.granted, second.revoked) == ([], [])


async def test_what_was_granted_too_much_is_taken_away_for_later_tables_too(database_url: str) -> None:
    async with open_role(database_url, "processor") as role, open_connection(database_url) as owner:
        await owner.execute(f"""
            GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role};
            GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role};
            ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, DELETE ON TABLES TO {role};
            ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE ON SEQUENCES TO {role};
        """)

        [change] = await grant(database_url, {role: {Service.PROCESSOR}})
        await owner.execute("CREATE TABLE later (id bigint GENERATED ALWAYS AS IDENTITY)")
        async with open_connection(url_of_role(database_url, role)) as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("SELECT FROM later")

    assert {"SELECT ON account", "DELETE ON ecg", "UPDATE ON ecg", "USAGE ON ecg_row_seq"} <= set(
        change.revoked
    )


async def test_one_role_for_two_services_has_what_both_need(database_url: str) -> None:
    async with open_role(database_url, "both") as role:
        await grant(database_url, {role: {Service.GATEWAY, Service.PROCESSOR}})
        async with open_database(url_of_role(database_url, role)) as database:
            for check in _CHECKS[Service.GATEWAY] + _CHECKS[Service.PROCESSOR]:
                await check(database)


async def test_a_role_that_does_not_exist_is_named_and_nobody_is_granted_anything(
    database_url: str,
) -> None:
    async with open_role(database_url, "gateway") as role:
        with pytest.raises(
            ConfigurationError, match='no role no "body"; make it with CREATE ROLE "no ""body"""'
        ):
            await grant(database_url, {role: {Service.GATEWAY}, 'no "body"': {Service.PROCESSOR}})
        async with open_connection(database_url) as owner:
            superuser = await owner.fetchval("SELECT current_user")
            with pytest.raises(ConfigurationError, match="is a superuser"):
                await grant(database_url, {superuser: {Service.GATEWAY}})
            await owner.execute(f"ALTER TABLE ecg OWNER TO {role}")
            with pytest.raises(ConfigurationError, match="owns the tables"):
                await grant(database_url, {role: {Service.GATEWAY}})
            await owner.execute("ALTER TABLE ecg OWNER TO CURRENT_USER")
        [change] = await grant(database_url, {role: {Service.GATEWAY}})

    assert "SELECT ON account" in change.granted


async def test_who_does_not_own_the_tables_can_grant_nothing(database_url: str) -> None:
    async with open_role(database_url, "gateway") as role, open_role(database_url, "other") as other:
        with pytest.raises(UnavailableError, match="permission denied"):
            await grant(url_of_role(database_url, other), {role: {Service.GATEWAY}})


async def test_an_older_schema_is_migrated_first(database_url: str) -> None:
    await migrate(database_url, to=11)
    async with open_role(database_url, "gateway") as role:
        with pytest.raises(UnavailableError, match="run `isoline migrate` first"):
            await grant(database_url, {role: {Service.GATEWAY}})
