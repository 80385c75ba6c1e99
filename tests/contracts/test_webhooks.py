"""Webhooks in PostgreSQL: their owners' view, and what the processors that send for them agree on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid4

import pytest

from shared.domain.account import Account, Role
from shared.domain.errors import UnavailableError
from shared.domain.webhook import DeliveryState, WebhookState, new_webhook_secret
from shared.events import EcgKey, EventType
from shared.ports.event_log import LogPosition
from shared.ports.operators.webhook_counts import WebhookCounts
from shared.ports.webhook_dispatch import Attempt, AttemptedDelivery, LeasedWebhook, Progress
from shared.ports.webhooks import NewWebhook, WebhookChange
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.postgres.event_log import PostgresEventLog
from shared.storage.postgres.operators.webhook_counts import PostgresWebhookCounter
from shared.storage.postgres.webhooks.dispatch import PostgresWebhookDispatch
from shared.storage.postgres.webhooks.subscriptions import PostgresWebhookStore
from shared.storage.schema.migrations import migrate
from tests.support.builders import AnEventSource

if TYPE_CHECKING:
    from shared.domain.webhook import Webhook, WebhookDelivery
    from shared.storage.pool.database import Database

_URL: Final = "https://hooks.example.org/isoline"
_SCHEMA_BEFORE: Final = 24
_SCHEMA_WITHOUT_LOG: Final = 22
_TAKEN: Final = Attempt(200, None, 0.1)
_REFUSED: Final = Attempt(500, "answered 500", 0.1)
_IN_TWO_HOURS: Final = """
WITH webhooks AS (
    UPDATE webhook SET leased_until = now() + interval '2 hours', resume_at = now() + interval '2 hours'
)
UPDATE webhook_delivery SET due_at = now() + interval '2 hours'
"""
_LOG: Final = """
INSERT INTO event_log (at, types, owners, ids, generations)
VALUES (now(), ARRAY['ecg.deleted'], ARRAY['ada'], ARRAY[$1], ARRAY[1])
"""


@pytest.fixture
async def accounts(database: Database) -> PostgresAccountStore:
    """With ada, a user and subscriber, and bob, a user."""
    accounts = PostgresAccountStore(database)
    await accounts.add(Account("ada", "a hash", frozenset([Role.USER, Role.SUBSCRIBER])))
    await accounts.add(Account("bob", "a hash", frozenset([Role.USER])))
    return accounts


@pytest.fixture
def store(database: Database, accounts: PostgresAccountStore) -> PostgresWebhookStore:  # noqa: ARG001
    return PostgresWebhookStore(database)


@pytest.fixture
def dispatch(database: Database) -> PostgresWebhookDispatch:
    return PostgresWebhookDispatch(database)


@pytest.fixture
def log(database: Database) -> PostgresEventLog:
    return PostgresEventLog(database, AnEventSource())


async def add(
    store: PostgresWebhookStore,
    *,
    account: str = "ada",
    of_all_owners: bool = False,
    after: LogPosition | None = None,
    since: datetime | None = None,
) -> Webhook:
    new = NewWebhook(
        uuid4(),
        account,
        _URL,
        "billing",
        frozenset(["ecg.processed", "ecg.deleted"]),
        of_all_owners,
        new_webhook_secret(),
        after,
        since,
    )
    webhook = await store.add(new, limit=16)
    assert webhook is not None
    return webhook


async def execute(database: Database, statement: str, *values: object) -> None:
    async with database.connection() as connection:
        await connection.execute(statement, *values)


async def lease(dispatch: PostgresWebhookDispatch) -> LeasedWebhook:
    [webhook] = await dispatch.lease(limit=10)
    return webhook


async def add_and_lease(
    database: Database, store: PostgresWebhookStore, dispatch: PostgresWebhookDispatch
) -> tuple[Webhook, LeasedWebhook]:
    """A webhook of ada with an event to send, and its lease."""
    webhook = await add(store, after=LogPosition(0, 0))
    await execute(database, _LOG, "10")
    return webhook, await lease(dispatch)


async def one_of(store: PostgresWebhookStore, webhook: Webhook) -> WebhookDelivery:
    [delivery] = await store.deliveries(webhook.id, account="ada", before=None, state=None, limit=10)
    return delivery


def attempted(
    position: LogPosition, attempt: Attempt | None, *, delivery_id: int | None = None
) -> AttemptedDelivery:
    key = EcgKey("ada", "10") if delivery_id is None else None
    return AttemptedDelivery(delivery_id, position, uuid4(), EventType.DELETED, key, attempt, retry_in_s=5.0)


class TestOwnersView:
    async def test_a_webhook_is_found_as_it_was_added(self, store: PostgresWebhookStore) -> None:
        webhook = await add(store)

        assert await store.find(webhook.id, account="ada") == webhook
        assert await store.webhooks_of("ada") == [webhook]
        assert (webhook.url, webhook.description, webhook.of_all_owners) == (_URL, "billing", False)
        assert webhook.types == {"ecg.processed", "ecg.deleted"}
        assert (webhook.state, webhook.waiting) == (WebhookState.ACTIVE, 0)

    async def test_that_of_another_is_as_none(self, store: PostgresWebhookStore) -> None:
        webhook = await add(store)

        assert await store.find(webhook.id, account="bob") is None
        assert await store.webhooks_of("bob") == []
        assert await store.change(webhook.id, WebhookChange(is_enabled=False), account="bob") is None
        assert await store.rotate(webhook.id, "whsec_x", account="bob") is None
        assert await store.ping(webhook.id, uuid4(), account="bob") is None
        assert not await store.remove(webhook.id, account="bob")
        await store.ping(webhook.id, uuid4(), account="ada")
        delivery = await one_of(store, webhook)
        assert not await store.deliveries(webhook.id, account="bob", before=None, state=None, limit=9)
        assert await store.resend(webhook.id, delivery.id, account="bob") is None
        assert await store.find(webhook.id, account="ada") == webhook

    async def test_an_account_has_a_limit(self, store: PostgresWebhookStore) -> None:
        await add(store)

        new = NewWebhook(uuid4(), "ada", _URL, "", frozenset(), of_all_owners=False, secret="", after=None)
        assert await store.add(new, limit=1) is None
        assert await store.add(new._replace(account="bob"), limit=1) is not None

    async def test_what_is_given_is_changed_and_nothing_else(self, store: PostgresWebhookStore) -> None:
        webhook = await add(store)

        changed = await store.change(webhook.id, WebhookChange(url="https://b.example/"), account="ada")

        assert changed is not None
        assert changed.url == "https://b.example/"
        assert (changed.types, changed.description, changed.is_enabled) == (webhook.types, "billing", True)
        paused = await store.change(webhook.id, WebhookChange(is_enabled=False), account="ada")
        assert paused is not None
        assert (paused.state, paused.disabled_reason) == (WebhookState.PAUSED, None)
        assert paused.disabled_at is not None
        again = await store.change(webhook.id, WebhookChange(is_enabled=True), account="ada")
        assert again is not None
        assert (again.state, again.disabled_at) == (WebhookState.ACTIVE, None)

    async def test_both_secrets_sign_for_a_day_after_a_rotation(
        self, database: Database, store: PostgresWebhookStore, dispatch: PostgresWebhookDispatch
    ) -> None:
        webhook = await add(store, after=LogPosition(0, 0))
        await execute(database, _LOG, "10")
        rotated = await store.rotate(webhook.id, "whsec_new", account="ada")

        assert rotated is not None
        assert rotated.previous_secret_until is not None
        a_day = rotated.previous_secret_until - datetime.now(UTC)
        assert timedelta(hours=23) < a_day <= timedelta(hours=24, minutes=1)
        first = await lease(dispatch)
        assert first.secrets[0] == "whsec_new"
        assert len(first.secrets) == 2
        await execute(database, "UPDATE webhook SET previous_secret_until = now()")
        renewed = await dispatch.record(first, [], Progress())
        assert renewed is not None
        assert renewed.secrets == ("whsec_new",)
        found = await store.find(webhook.id, account="ada")
        assert found is not None
        assert found.previous_secret_until is None

    async def test_a_ping_waits_once(self, store: PostgresWebhookStore) -> None:
        webhook, event_id = await add(store), uuid4()

        ping = await store.ping(webhook.id, event_id, account="ada")
        again = await store.ping(webhook.id, uuid4(), account="ada")

        assert ping is not None
        assert (ping.event_id, ping.type, ping.state) == (event_id, "webhook.ping", DeliveryState.WAITING)
        assert (ping.subject, ping.attempts) == (None, 0)
        assert again == ping

    async def test_a_removed_webhook_leaves_no_delivery(
        self, database: Database, store: PostgresWebhookStore
    ) -> None:
        webhook = await add(store)
        await store.ping(webhook.id, uuid4(), account="ada")

        assert await store.remove(webhook.id, account="ada")

        assert await store.find(webhook.id, account="ada") is None
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM webhook_delivery") == 0
        assert not await store.remove(webhook.id, account="ada")

    async def test_deliveries_are_paged_from_the_newest(
        self, store: PostgresWebhookStore, dispatch: PostgresWebhookDispatch, database: Database
    ) -> None:
        webhook, leased = await add_and_lease(database, store, dispatch)
        sent = [attempted(LogPosition(1, place), _TAKEN if place < 3 else _REFUSED) for place in (1, 2, 3)]
        await dispatch.record(leased, sent, Progress(LogPosition(1, 3), is_taken=True))

        async def page(before: int | None, state: DeliveryState | None = None) -> list[WebhookDelivery]:
            return list(
                await store.deliveries(webhook.id, account="ada", before=before, state=state, limit=2)
            )

        newest = await page(None)
        assert [each.event_id for each in newest] == [sent[2].event_id, sent[1].event_id]
        assert [each.event_id for each in await page(newest[-1].id)] == [sent[0].event_id]
        [waiting] = await page(None, DeliveryState.WAITING)
        assert (waiting.status, waiting.error, waiting.attempts) == (500, "answered 500", 1)
        assert waiting.subject == "ada/10"


class TestLeases:
    async def test_one_process_has_it(
        self, database: Database, store: PostgresWebhookStore, dispatch: PostgresWebhookDispatch
    ) -> None:
        webhook, leased = await add_and_lease(database, store, dispatch)

        assert (leased.id, leased.owner, leased.may_send, leased.room) == (webhook.id, "ada", True, 100)
        other = PostgresWebhookDispatch(database)
        assert await other.lease(limit=10) == []
        await dispatch.release(leased)
        [again] = await other.lease(limit=10)
        assert again.lease != leased.lease

    async def test_after_ten_seconds_another_has_it_and_the_first_records_nothing(
        self, database: Database, store: PostgresWebhookStore, dispatch: PostgresWebhookDispatch
    ) -> None:
        webhook, frozen = await add_and_lease(database, store, dispatch)
        await execute(database, "UPDATE webhook SET leased_until = now()")
        other = await lease(dispatch)

        late = await dispatch.record(
            frozen, [attempted(LogPosition(1, 1), _TAKEN)], Progress(LogPosition(1, 1))
        )
        await dispatch.release(frozen)

        assert late is None
        assert not await store.deliveries(webhook.id, account="ada", before=None, state=None, limit=9)
        assert await dispatch.record(other, [], Progress()) is not None

    async def test_it_is_kept_as_long_as_it_is_renewed(
        self, database: Database, store: PostgresWebhookStore, dispatch: PostgresWebhookDispatch
    ) -> None:
        _, leased = await add_and_lease(database, store, dispatch)
        await execute(database, "UPDATE webhook SET leased_until = now()")

        await dispatch.renew([leased])

        assert await dispatch.lease(limit=10) == []
        await execute(database, "UPDATE webhook SET leased_until = now()")
        other = await lease(dispatch)
        await execute(database, "UPDATE webhook SET leased_until = now()")
        await dispatch.renew([leased])
        assert (await lease(dispatch)).lease != other.lease

    @pytest.mark.parametrize("place", [0, 5])
    async def test_nothing_is_leased_that_has_come_to_the_end(
        self,
        place: int,
        database: Database,
        store: PostgresWebhookStore,
        dispatch: PostgresWebhookDispatch,
        log: PostgresEventLog,
    ) -> None:
        await execute(database, _LOG, "10")
        newest = await log.newest()
        await add(store, after=await log.end())
        assert await dispatch.lease(limit=10) == []

        await add(store, after=LogPosition(newest, place))

        assert (await lease(dispatch)).position == LogPosition(newest, place)

    async def test_a_webhook_that_begins_with_what_is_kept_has_no_position(
        self, database: Database, store: PostgresWebhookStore, dispatch: PostgresWebhookDispatch
    ) -> None:
        await execute(database, _LOG, "10")
        yesterday = datetime.now(UTC) - timedelta(days=1)
        await add(store, since=yesterday)

        leased = await lease(dispatch)

        assert (leased.position, leased.since) == (None, yesterday)
        renewed = await dispatch.record(leased, [], Progress(LogPosition(7, 1)))
        assert renewed is not None
        assert (renewed.position, renewed.since) == (LogPosition(7, 1), None)

    async def test_who_may_not_read_the_events_is_sent_none(
        self,
        database: Database,
        store: PostgresWebhookStore,
        dispatch: PostgresWebhookDispatch,
        accounts: PostgresAccountStore,
    ) -> None:
        webhook = await add(store, of_all_owners=True, after=LogPosition(0, 0))
        await execute(database, _LOG, "10")
        leased = await lease(dispatch)
        assert leased.owner is None
        await accounts.set_roles("ada", frozenset([Role.USER]))

        found = await store.find(webhook.id, account="ada")
        assert found is not None
        assert found.state is WebhookState.DENIED

        renewed = await dispatch.record(leased, [], Progress())
        assert renewed is not None
        assert not renewed.may_send
        await dispatch.release(renewed)
        assert await dispatch.lease(limit=10) == []

    async def test_nobody_sends_for_a_deleted_account(
        self,
        database: Database,
        store: PostgresWebhookStore,
        dispatch: PostgresWebhookDispatch,
        accounts: PostgresAccountStore,
    ) -> None:
        webhook = await add(store, account="bob", after=LogPosition(0, 0))
        await execute(database, _LOG, "10")
        await store.ping(webhook.id, uuid4(), account="bob")
        await accounts.delete("bob")

        assert await dispatch.lease(limit=10) == []

    async def test_a_paused_webhook_is_leased_for_its_ping_alone(
        self, database: Database, store: PostgresWebhookStore, dispatch: PostgresWebhookDispatch
    ) -> None:
        webhook = await add(store, after=LogPosition(0, 0))
        await execute(database, _LOG, "10")
        await store.change(webhook.id, WebhookChange(is_enabled=False), account="ada")
        assert await dispatch.lease(limit=10) == []
        event_id = uuid4()
        await store.ping(webhook.id, event_id, account="ada")

        leased = await lease(dispatch)

        assert not leased.may_send
        [due] = await dispatch.due(leased, limit=10)
        assert (due.event_id, due.position) == (event_id, None)
        done = AttemptedDelivery(due.id, None, event_id, None, None, _REFUSED, 5.0)
        assert await dispatch.record(leased, [done], Progress()) is not None
        assert await dispatch.due(leased, limit=10) == []
        delivery = await one_of(store, webhook)
        assert (delivery.state, delivery.error) == (DeliveryState.FAILED, "answered 500")


class TestDeliveries:
    async def test_what_was_not_taken_waits_and_is_sent_again(
        self, database: Database, store: PostgresWebhookStore, dispatch: PostgresWebhookDispatch
    ) -> None:
        webhook, leased = await add_and_lease(database, store, dispatch)
        first = attempted(LogPosition(9, 1), _REFUSED)

        failing = await dispatch.record(
            leased,
            [first],
            Progress(LogPosition(9, 1), is_taken=False, last_error="answered 500", pause_s=60),
        )

        assert failing is not None
        assert (failing.is_failing, failing.failures, failing.may_send, failing.room) == (True, 1, False, 99)
        found = await store.find(webhook.id, account="ada")
        assert found is not None
        assert (found.state, found.last_error, found.waiting) == (WebhookState.FAILING, "answered 500", 1)
        await dispatch.release(failing)
        assert await dispatch.lease(limit=10) == []

        await execute(database, "UPDATE webhook SET resume_at = now()")
        await execute(database, "UPDATE webhook_delivery SET due_at = now()")
        leased = await lease(dispatch)
        [due] = await dispatch.due(leased, limit=10)
        assert (due.event_id, due.position, due.attempts) == (first.event_id, LogPosition(9, 1), 1)
        again = attempted(LogPosition(9, 1), _TAKEN, delivery_id=due.id)
        well = await dispatch.record(leased, [again], Progress(is_taken=True))

        assert well is not None
        assert (well.is_failing, well.failures, well.room) == (False, 0, 100)
        assert well.position == LogPosition(9, 1)
        delivery = await one_of(store, webhook)
        assert (delivery.state, delivery.attempts, delivery.error) == (DeliveryState.DELIVERED, 2, None)

    async def test_the_same_record_twice_is_one_delivery(
        self, database: Database, store: PostgresWebhookStore, dispatch: PostgresWebhookDispatch
    ) -> None:
        webhook, leased = await add_and_lease(database, store, dispatch)
        for _ in range(2):
            sent = attempted(LogPosition(9, 1), _TAKEN)
            await dispatch.record(leased, [sent], Progress(LogPosition(9, 1), is_taken=True))

        assert (await one_of(store, webhook)).attempts == 1

    async def test_when_one_is_taken_the_others_are_due_at_once(
        self, database: Database, store: PostgresWebhookStore, dispatch: PostgresWebhookDispatch
    ) -> None:
        _, leased = await add_and_lease(database, store, dispatch)
        sent = [attempted(LogPosition(9, place), _REFUSED)._replace(retry_in_s=3600.0) for place in (1, 2)]
        failing = await dispatch.record(leased, sent, Progress(LogPosition(9, 2), is_taken=False))
        assert failing is not None

        back = await dispatch.record(failing, [attempted(LogPosition(9, 3), _TAKEN)], Progress(is_taken=True))

        assert back is not None
        assert len(await dispatch.due(back, limit=10)) == 2

    async def test_after_a_day_an_event_is_given_up_and_can_be_sent_again(
        self, database: Database, store: PostgresWebhookStore, dispatch: PostgresWebhookDispatch
    ) -> None:
        webhook, leased = await add_and_lease(database, store, dispatch)
        refused = attempted(LogPosition(9, 1), _REFUSED)
        await dispatch.record(leased, [refused], Progress(LogPosition(9, 1), is_taken=True))
        delivery = await one_of(store, webhook)
        await execute(database, "UPDATE webhook_delivery SET give_up_at = now(), attempts = 9")

        again = attempted(LogPosition(9, 1), _REFUSED, delivery_id=delivery.id)
        await dispatch.record(leased, [again], Progress(is_taken=True))

        delivery = await one_of(store, webhook)
        assert (delivery.state, delivery.attempts, delivery.due_at) == (DeliveryState.FAILED, 10, None)
        assert await dispatch.due(leased, limit=10) == []
        resent = await store.resend(webhook.id, delivery.id, account="ada")
        assert resent is not None
        assert resent.state is DeliveryState.WAITING
        assert [due.id for due in await dispatch.due(leased, limit=10)] == [delivery.id]
        await dispatch.record(leased, [again._replace(attempt=_REFUSED)], Progress(is_taken=True))
        assert (await one_of(store, webhook)).state is DeliveryState.WAITING

    async def test_what_was_erased_is_dropped(
        self, database: Database, store: PostgresWebhookStore, dispatch: PostgresWebhookDispatch
    ) -> None:
        webhook, leased = await add_and_lease(database, store, dispatch)
        refused = attempted(LogPosition(9, 1), _REFUSED)
        await dispatch.record(leased, [refused], Progress(LogPosition(9, 1), is_taken=True))
        delivery = await one_of(store, webhook)

        await dispatch.record(
            leased, [attempted(LogPosition(9, 1), None, delivery_id=delivery.id)], Progress(is_taken=True)
        )

        delivery = await one_of(store, webhook)
        assert (delivery.state, delivery.attempts) == (DeliveryState.DROPPED, 1)
        assert delivery.error == "its ECG was erased, or the event log has forgotten it"

    async def test_a_day_without_success_disables_it_until_its_owner_enables_it(
        self, database: Database, store: PostgresWebhookStore, dispatch: PostgresWebhookDispatch
    ) -> None:
        webhook, leased = await add_and_lease(database, store, dispatch)
        refused = attempted(LogPosition(9, 1), _REFUSED)
        vain = Progress(LogPosition(9, 1), is_taken=False, last_error="answered 500")
        failing = await dispatch.record(leased, [refused], vain)
        assert failing is not None
        await execute(
            database, "UPDATE webhook SET failing_since = now() - interval '25 hours', failures = 9"
        )

        disabled = await dispatch.record(failing, [], vain._replace(position=None))

        assert disabled is not None
        assert not disabled.may_send
        found = await store.find(webhook.id, account="ada")
        assert found is not None
        assert found.state is WebhookState.DISABLED
        assert found.disabled_reason == "nothing was taken for a day; the last time: answered 500"
        await dispatch.release(disabled)
        assert await dispatch.lease(limit=10) == []

        enabled = await store.change(webhook.id, WebhookChange(is_enabled=True), account="ada")

        assert enabled is not None
        assert (enabled.state, enabled.failures, enabled.waiting) == (WebhookState.ACTIVE, 0, 1)
        leased = await lease(dispatch)
        assert leased.position == LogPosition(9, 1)
        assert len(await dispatch.due(leased, limit=10)) == 1

    async def test_a_clock_that_goes_back_keeps_none_waiting(
        self, database: Database, store: PostgresWebhookStore, dispatch: PostgresWebhookDispatch
    ) -> None:
        _, leased = await add_and_lease(database, store, dispatch)
        vain = Progress(LogPosition(9, 1), is_taken=False, last_error="answered 500")
        await dispatch.record(leased, [attempted(LogPosition(9, 1), _REFUSED)], vain)
        await execute(database, _IN_TWO_HOURS)

        again = await lease(dispatch)

        assert again.may_send
        assert len(await dispatch.due(again, limit=9)) == 1

    async def test_a_clock_that_goes_ahead_by_days_ends_no_day_of_trying(
        self, database: Database, store: PostgresWebhookStore, dispatch: PostgresWebhookDispatch
    ) -> None:
        webhook, leased = await add_and_lease(database, store, dispatch)
        refused = attempted(LogPosition(9, 1), _REFUSED)
        vain = Progress(LogPosition(9, 1), is_taken=False, last_error="answered 500")
        failing = await dispatch.record(leased, [refused], vain)
        assert failing is not None
        await execute(database, "UPDATE webhook SET failing_since = now() - interval '3 days'")
        await execute(database, "UPDATE webhook_delivery SET give_up_at = now() - interval '2 days'")
        delivery = await one_of(store, webhook)
        again = attempted(LogPosition(9, 1), _REFUSED, delivery_id=delivery.id)

        await dispatch.record(failing, [again], vain)

        found = await store.find(webhook.id, account="ada")
        assert found is not None
        assert (found.state, (await one_of(store, webhook)).state) == (
            WebhookState.FAILING,
            DeliveryState.WAITING,
        )

    async def test_one_that_is_gone_is_disabled_at_once(
        self, database: Database, store: PostgresWebhookStore, dispatch: PostgresWebhookDispatch
    ) -> None:
        webhook = await add(store, after=LogPosition(0, 0))
        await execute(database, _LOG, "10")

        await dispatch.record(await lease(dispatch), [], Progress(is_taken=False, disabled_reason="gone"))

        found = await store.find(webhook.id, account="ada")
        assert found is not None
        assert (found.state, found.disabled_reason) == (WebhookState.DISABLED, "gone")

    async def test_a_hundred_may_wait(
        self, database: Database, store: PostgresWebhookStore, dispatch: PostgresWebhookDispatch
    ) -> None:
        _, leased = await add_and_lease(database, store, dispatch)
        sent = [attempted(LogPosition(9, place), _REFUSED)._replace(retry_in_s=60) for place in range(1, 101)]

        full = await dispatch.record(leased, sent, Progress(LogPosition(9, 100), is_taken=True))

        assert full is not None
        assert full.room == 0
        await dispatch.release(full)
        assert await dispatch.lease(limit=10) == []

    async def test_old_deliveries_are_forgotten_but_what_waits_is_kept(
        self, database: Database, store: PostgresWebhookStore, dispatch: PostgresWebhookDispatch
    ) -> None:
        webhook, leased = await add_and_lease(database, store, dispatch)
        sent = [attempted(LogPosition(9, 1), _TAKEN), attempted(LogPosition(9, 2), _REFUSED)]
        await dispatch.record(leased, sent, Progress(LogPosition(9, 2), is_taken=True))
        await execute(database, "UPDATE webhook_delivery SET created_at = now() - interval '31 days'")
        await dispatch.record(leased, [attempted(LogPosition(9, 3), _TAKEN)], Progress(is_taken=True))

        assert await dispatch.forget_deliveries(days=30) == 1
        assert await dispatch.forget_deliveries(days=30) == 0

        kept = await store.deliveries(webhook.id, account="ada", before=None, state=None, limit=9)
        assert [each.state for each in kept] == [DeliveryState.DELIVERED, DeliveryState.WAITING]


async def test_operators_count_them_by_state(
    database: Database, store: PostgresWebhookStore, dispatch: PostgresWebhookDispatch
) -> None:
    counter = PostgresWebhookCounter(database)
    assert await counter.count() == WebhookCounts(0, 0, 0, 0)
    ahead = LogPosition(2**40, 0)
    for _ in range(2):
        await add(store, after=ahead)
    await store.change((await add(store, after=ahead)).id, WebhookChange(is_enabled=False), account="ada")
    _, leased = await add_and_lease(database, store, dispatch)

    failing = Progress(LogPosition(9, 1), is_taken=False, last_error="answered 500")
    await dispatch.record(leased, [], failing)
    assert await counter.count() == WebhookCounts(2, 1, 1, 0, "answered 500")
    await dispatch.record(leased, [], failing._replace(disabled_reason="gone"))
    assert await counter.count() == WebhookCounts(2, 0, 1, 1, "gone")


async def test_the_way_back_to_a_schema_without_the_log_and_forward_switches_none_off(
    database: Database,
    database_url: str,
    store: PostgresWebhookStore,
    dispatch: PostgresWebhookDispatch,
    log: PostgresEventLog,
) -> None:
    webhook = await add(store, after=await log.end())
    await migrate(database_url, to=_SCHEMA_WITHOUT_LOG, force=True)
    await migrate(database_url, force=True)
    await execute(database, _LOG, "10")

    leased = await lease(dispatch)

    assert (leased.id, leased.position) == (webhook.id, None)
    [logged] = (await log.read(None, limit=9, types=leased.types, owner=leased.owner)).events
    assert logged.key.id == "10"
    await migrate(database_url, to=_SCHEMA_BEFORE, force=True)
    await dispatch.record(leased, [], Progress(logged.position._replace(place=2**31 - 1)))
    await migrate(database_url, force=True)
    await dispatch.release(leased)
    assert await dispatch.lease(limit=1) == []  # the log is the one of before


async def test_a_schema_without_webhooks_says_so(database: Database, database_url: str) -> None:
    await migrate(database_url, to=_SCHEMA_BEFORE)
    await execute(database, "DROP TABLE webhook, webhook_delivery")

    assert await PostgresWebhookCounter(database).count() is None
    with pytest.raises(UnavailableError, match="isoline migrate"):
        await PostgresWebhookDispatch(database).lease(limit=1)
    with pytest.raises(UnavailableError) as raised:
        await PostgresWebhookStore(database).find(UUID(int=0), account="ada")
    assert raised.value.for_sender == "Webhooks are not set up here yet."
