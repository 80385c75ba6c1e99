"""Webhooks: what is sent to which receiver, and what becomes of it when it is not taken."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import uuid4

import orjson
import pytest

from processor.webhooks import dispatcher
from processor.webhooks.delivering import Senders, send_for
from processor.webhooks.dispatcher import open_webhooks
from shared.domain.account import Account, Role
from shared.domain.errors import UnavailableError
from shared.domain.webhook import DeliveryState, WebhookState, new_webhook_secret
from shared.events import EventType, processed_event
from shared.observability.tracing import recording_with
from shared.ports.ecgs import Settlement, Submission
from shared.ports.event_log import LogPosition
from shared.ports.webhook_dispatch import Attempt
from shared.ports.webhooks import NewWebhook, WebhookChange
from shared.storage.postgres.accounts import PostgresAccountStore
from shared.storage.postgres.ecgs import PostgresEcgStore
from shared.storage.postgres.event_log import PostgresEventLog
from shared.storage.postgres.webhooks.dispatch import PostgresWebhookDispatch
from shared.storage.postgres.webhooks.subscriptions import PostgresWebhookStore
from tests.support.builders import SOURCE, AnEventSource, an_ecg
from tests.support.polling import until
from tests.support.spans import RememberingTracer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from processor.webhooks.message import WebhookMessage
    from shared.domain.findings import JsonValue
    from shared.domain.webhook import Webhook, WebhookDelivery
    from shared.events import EcgKey
    from shared.ports.webhook_dispatch import AttemptedDelivery, LeasedWebhook, Progress
    from shared.storage.pool.database import Database

_TAKEN: Final = Attempt(200, None, 0.1)
_REFUSED: Final = Attempt(500, "answered 500", 0.1)
_DOCUMENT: Final[dict[str, JsonValue]] = {"leads": [{"I": {"zero_crossings": 2}}], "insights": {}}
_ALL: Final = frozenset({EventType.PROCESSED, EventType.FAILED, EventType.DELETED})
_TRACE: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
_LOG: Final = """
INSERT INTO event_log (at, types, owners, ids, generations)
SELECT now(), array_fill('ecg.deleted'::text, ARRAY[cardinality($2::text[])]),
    array_fill($1::text, ARRAY[cardinality($2)]), $2, array_fill(1, ARRAY[cardinality($2)])
"""
_IS_RENEWED: Final = "SELECT leased_until > now() + interval '6 seconds' FROM webhook"
_LATER: Final = """
WITH webhooks AS (UPDATE webhook SET resume_at = now(), leased_until = now())
UPDATE webhook_delivery SET due_at = now() WHERE due_at IS NOT NULL
"""


class Receivers:
    """The receivers of all webhooks: what they got, by URL, and what they answer."""

    def __init__(self) -> None:
        self.got: defaultdict[str, list[WebhookMessage]] = defaultdict(list)
        self.secrets: list[Sequence[str]] = []
        self.answer: Callable[[str, WebhookMessage], Attempt] = lambda _url, _message: _TAKEN
        self.hung: set[str] = set()
        self.answered = asyncio.Event()

    async def send(self, url: str, secrets: Sequence[str], message: WebhookMessage) -> Attempt:
        self.got[url].append(message)
        self.secrets.append(secrets)
        if url in self.hung:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        self.answered.set()
        return self.answer(url, message)

    def ecgs(self, url: str = "https://a.example/") -> list[str]:
        """The ids of the ECGs of the events that one got."""
        return [orjson.loads(message.body)["data"]["id"] for message in self.got[url]]


class World(NamedTuple):
    """A database with webhooks, and their receivers."""

    database: Database
    store: PostgresWebhookStore
    receivers: Receivers
    senders: Senders

    async def add(
        self,
        name: str = "a",
        *,
        account: str = "ada",
        of_all_owners: bool = False,
        since: datetime | None = None,
    ) -> Webhook:
        """A webhook that begins with the oldest event."""
        new = NewWebhook(
            id=uuid4(),
            account=account,
            url=f"https://{name}.example/",
            description="",
            types=_ALL,
            of_all_owners=of_all_owners,
            secret=new_webhook_secret(),
            after=None,
            since=since,
        )
        webhook = await self.store.add(new, limit=100)
        assert webhook is not None
        return webhook

    async def log(self, *ids: str, owner: str = "ada") -> None:
        """Erasures of these ECGs in one transaction."""
        await self.execute(_LOG, owner, list(ids))

    async def execute(self, statement: str, *values: object) -> None:
        async with self.database.connection() as connection:
            await connection.execute(statement, *values)

    async def send(self) -> int:
        """Send for every webhook that has something to send; how many there were."""
        leased = await self.senders.dispatch.lease(limit=100)
        for webhook in leased:
            await send_for(webhook, self.senders)
        return len(leased)

    async def deliveries(self, webhook: Webhook, state: DeliveryState | None = None) -> list[WebhookDelivery]:
        """Oldest first."""
        found = await self.store.deliveries(
            webhook.id, account=webhook.account, before=None, state=state, limit=1000
        )
        return [*reversed(found)]

    async def find(self, webhook: Webhook) -> Webhook:
        found = await self.store.find(webhook.id, account=webhook.account)
        assert found is not None
        return found


@pytest.fixture
async def world(database: Database) -> World:
    accounts = PostgresAccountStore(database)
    for name in ("ada", "bob"):
        await accounts.add(Account(name, "a hash", frozenset([Role.USER, Role.SUBSCRIBER])))
    receivers, source = Receivers(), AnEventSource()
    senders = Senders(
        dispatch=PostgresWebhookDispatch(database),
        log=PostgresEventLog(database, source),
        event_source=source,
        sender=receivers,
    )
    return World(database, PostgresWebhookStore(database), receivers, senders)


async def analysed(
    database: Database, ecg_id: str, *, traceparent: str | None = None
) -> tuple[EcgKey, UUID, bytes]:
    """An ECG with a result, and its event."""
    store = PostgresEcgStore(database)
    [receipt] = await store.add([Submission("ada", an_ecg(ecg_id), traceparent)])
    [claim] = (await store.claim([receipt.key], claim_id=uuid4(), tried_before=True)).claimed
    event = processed_event(
        claim.key, _DOCUMENT, source=SOURCE, now=datetime.now(UTC), traceparent=claim.traceparent
    )
    await store.settle([Settlement(claim, event, document=_DOCUMENT)])
    return receipt.key, event.id, event.body


class TestWhatIsSent:
    async def test_an_event_is_sent_as_it_was_published(self, world: World) -> None:
        webhook = await world.add()
        key, event_id, body = await analysed(world.database, "10")

        assert await world.send() == 1

        [message] = world.receivers.got["https://a.example/"]
        assert (message.id, message.body) == (str(event_id), body)
        [delivery] = await world.deliveries(webhook)
        assert (delivery.event_id, delivery.type, delivery.subject) == (
            event_id,
            "ecg.processed",
            key.subject,
        )
        assert (delivery.state, delivery.attempts, delivery.status) == (DeliveryState.DELIVERED, 1, 200)
        assert (await world.find(webhook)).last_delivered_at is not None
        assert await world.send() == 0

    async def test_events_of_others_and_other_types_are_not_sent(self, world: World) -> None:
        await world.add("mine")
        await world.add("everybodys", of_all_owners=True)
        results = await world.add("results")
        await world.store.change(
            results.id, WebhookChange(types=frozenset([EventType.PROCESSED])), account="ada"
        )
        await world.log("1")
        await world.log("2", owner="bob")

        await world.send()

        got = {url: world.receivers.ecgs(url) for url in world.receivers.got}
        assert got == {"https://mine.example/": ["1"], "https://everybodys.example/": ["1", "2"]}
        assert await world.send() == 0

    async def test_a_request_continues_the_trace_of_its_event(self, world: World) -> None:
        webhook = await world.add()
        await analysed(world.database, "10", traceparent=_TRACE)
        tracer = RememberingTracer()
        world.receivers.answer = lambda _url, _message: _REFUSED

        with recording_with(tracer):
            await world.send()

        [span] = tracer.named("send webhook")
        assert (span.parent, span.failure) == (_TRACE, "answered 500")
        assert span.attributes["isoline__ecg"] == "ada/10"
        assert span.attributes["http__response__status_code"] == 500
        [message] = world.receivers.got[webhook.url]
        assert message.traceparent == span.traceparent
        await world.execute(_LATER)
        await world.send()
        assert world.receivers.got[webhook.url][1].traceparent == _TRACE

    async def test_many_events_are_sent_once_each(self, world: World) -> None:
        webhook = await world.add()
        ids = [str(number) for number in range(150)]
        for start in range(0, 150, 50):
            await world.log(*ids[start : start + 50])

        while await world.send():
            pass

        assert sorted(world.receivers.ecgs()) == sorted(ids)
        assert len(await world.deliveries(webhook, DeliveryState.DELIVERED)) == 150

    async def test_a_test_event_is_sent_once_whatever_the_answer(self, world: World) -> None:
        webhook, event_id = await world.add(), uuid4()
        await world.store.change(webhook.id, WebhookChange(is_enabled=False), account="ada")
        await world.log("1")
        world.receivers.answer = lambda _url, _message: _REFUSED
        await world.store.ping(webhook.id, event_id, account="ada")

        assert await world.send() == 1
        assert await world.send() == 0

        [message] = world.receivers.got[webhook.url]
        document = orjson.loads(message.body)
        assert (message.id, document["id"]) == (str(event_id), str(event_id))
        assert (document["type"], document["data"]) == ("webhook.ping", {"webhook": str(webhook.id)})
        [delivery] = await world.deliveries(webhook)
        assert (delivery.state, delivery.error) == (DeliveryState.FAILED, "answered 500")
        assert (await world.find(webhook)).failing_since is None


class TestWhatIsNotTaken:
    async def test_it_is_sent_again_later_with_the_same_id(self, world: World) -> None:
        webhook = await world.add()
        await world.log("1")
        world.receivers.answer = lambda _url, _message: _REFUSED

        await world.send()

        failing = await world.find(webhook)
        assert (failing.state, failing.last_error) == (WebhookState.FAILING, "answered 500")
        [delivery] = await world.deliveries(webhook)
        assert delivery.due_at is not None
        assert delivery.last_attempt_at is not None
        assert 2 <= (delivery.due_at - delivery.last_attempt_at).total_seconds() <= 5
        assert await world.send() == 0
        world.receivers.answer = lambda _url, _message: _TAKEN
        await world.execute(_LATER)
        await world.send()
        first, second = world.receivers.got[webhook.url]
        assert first == second
        [delivery] = await world.deliveries(webhook)
        assert (delivery.state, delivery.attempts) == (DeliveryState.DELIVERED, 2)
        assert (await world.find(webhook)).state is WebhookState.ACTIVE

    async def test_a_dead_receiver_is_asked_now_and_then(self, world: World) -> None:
        webhook = await world.add()
        await world.log(*map(str, range(50)))
        world.receivers.answer = lambda _url, _message: Attempt(None, "refused the connection", 0.0)

        await world.send()
        asked = len(world.receivers.got[webhook.url])
        assert asked <= 8
        for _ in range(5):
            await world.execute(_LATER)
            await world.send()

        assert len(world.receivers.got[webhook.url]) == asked + 5 * 2
        world.receivers.answer = lambda _url, _message: _TAKEN
        await world.execute(_LATER)
        while await world.send():
            pass
        assert set(world.receivers.ecgs()) == set(map(str, range(50)))
        assert len(await world.deliveries(webhook, DeliveryState.DELIVERED)) == 50

    async def test_an_event_that_is_never_taken_delays_no_other(self, world: World) -> None:
        webhook = await world.add()

        def answer(_url: str, message: WebhookMessage) -> Attempt:
            return _REFUSED if orjson.loads(message.body)["data"]["id"] == "poison" else _TAKEN

        world.receivers.answer = answer
        await world.log("poison")
        await world.log(*map(str, range(40)))
        await world.send()
        for _ in range(3):
            await world.execute(_LATER)
            await world.send()

        assert set(world.receivers.ecgs()) == {"poison", *map(str, range(40))}
        assert len(world.receivers.ecgs()) == 40 + world.receivers.ecgs().count("poison")
        [poison] = await world.deliveries(webhook, DeliveryState.WAITING)
        assert poison.subject == "ada/poison"
        assert (await world.find(webhook)).is_enabled

    async def test_one_that_hangs_the_receiver_keeps_none_from_it(self, world: World) -> None:
        webhook = await world.add()
        await world.log("poison")
        world.receivers.answer = lambda _url, _message: _REFUSED
        await world.send()
        await world.log("1")
        await world.execute(_LATER)
        both = asyncio.Barrier(2)  # each hangs until the other has come, too

        async def send(url: str, _secrets: Sequence[str], message: WebhookMessage) -> Attempt:
            world.receivers.got[url].append(message)
            await both.wait()
            return _TAKEN

        world.receivers.send = send  # type: ignore[assignment,method-assign]
        async with asyncio.timeout(10):
            await world.send()

        assert len(await world.deliveries(webhook, DeliveryState.DELIVERED)) == 2

    async def test_a_receiver_may_say_when_it_wants_more(self, world: World) -> None:
        webhook = await world.add()
        await world.log("1")
        world.receivers.answer = lambda _url, _message: Attempt(
            429, "answered 429", 0.1, retry_after_s=1800.0
        )

        await world.send()

        [delivery] = await world.deliveries(webhook)
        assert delivery.due_at is not None
        assert delivery.last_attempt_at is not None
        assert (delivery.due_at - delivery.last_attempt_at).total_seconds() == 1800
        found = await world.find(webhook)
        assert found.failing_since is not None
        assert (found.resume_at - found.failing_since).total_seconds() == 1800

    async def test_a_receiver_that_is_gone_gets_nothing_more(self, world: World) -> None:
        webhook = await world.add()
        await world.log("1")
        world.receivers.answer = lambda _url, _message: Attempt(410, "answered 410", 0.1, is_gone=True)

        await world.send()

        found = await world.find(webhook)
        assert (found.state, found.disabled_reason) == (
            WebhookState.DISABLED,
            "the receiver answered 410: it wants no more",
        )
        await world.execute(_LATER)
        assert await world.send() == 0

    async def test_what_was_erased_meanwhile_is_not_sent_again(self, world: World) -> None:
        webhook = await world.add()
        await analysed(world.database, "10")
        world.receivers.answer = lambda _url, _message: _REFUSED
        await world.send()
        await world.execute("DELETE FROM ecg_insights")
        await world.execute(_LATER)
        await world.send()

        assert len(world.receivers.got[webhook.url]) == 1
        [delivery] = await world.deliveries(webhook)
        assert delivery.state is DeliveryState.DROPPED

    async def test_what_the_log_has_forgotten_is_said_and_it_goes_on_with_the_rest(
        self, world: World
    ) -> None:
        webhook = await world.add()
        await world.log("1")
        await world.send()
        await world.execute("DELETE FROM event_log")
        await world.execute("UPDATE event_log_start SET xid = pg_current_xact_id()")
        await world.log("3")

        await world.send()

        found = await world.find(webhook)
        assert found.state is WebhookState.DISABLED
        assert found.disabled_reason is not None
        assert "is kept no longer" in found.disabled_reason
        await world.store.change(webhook.id, WebhookChange(is_enabled=True), account="ada")
        await world.send()
        assert world.receivers.ecgs() == ["1", "3"]


class KilledError(Exception):
    """The process ends here."""


class _Unrecorded:
    """A dispatch whose records fail, before they are written or after.

    Args:
        failures: How many fail; then they are written.
    """

    def __init__(
        self, dispatch: PostgresWebhookDispatch, error: Exception, *, is_written: bool, failures: int
    ) -> None:
        self._dispatch = dispatch
        self._error = error
        self._is_written = is_written
        self._failures = failures

    def __getattr__(self, name: str) -> object:
        return getattr(self._dispatch, name)

    async def record(
        self, webhook: LeasedWebhook, attempted: Sequence[AttemptedDelivery], progress: Progress
    ) -> LeasedWebhook | None:
        self._failures -= 1
        if self._failures < 0:
            return await self._dispatch.record(webhook, attempted, progress)
        if self._is_written:
            await self._dispatch.record(webhook, attempted, progress)
        raise self._error


def unrecorded(world: World, error: Exception, *, is_written: bool, failures: int = 1) -> Senders:
    """What sending needs, with such a dispatch."""
    dispatch = PostgresWebhookDispatch(world.database)
    return Senders(
        dispatch=_Unrecorded(  # type: ignore[arg-type] # the rest is passed on
            dispatch, error, is_written=is_written, failures=failures
        ),
        log=world.senders.log,
        event_source=world.senders.event_source,
        sender=world.receivers,
    )


class TestProcesses:
    @pytest.mark.parametrize("is_written", [False, True])
    async def test_what_was_not_recorded_is_sent_again_and_noted_once(
        self, *, is_written: bool, world: World
    ) -> None:
        webhook = await world.add()
        await world.log("1", "2")
        [leased] = await world.senders.dispatch.lease(limit=1)
        with pytest.raises(KilledError):
            await send_for(leased, unrecorded(world, KilledError(), is_written=is_written))
        assert await world.send() == 0

        await world.execute(_LATER)
        await world.send()

        assert set(world.receivers.ecgs()) == {"1", "2"}
        assert len({message.id for message in world.receivers.got[webhook.url]}) == 2
        assert len(world.receivers.ecgs()) == (2 if is_written else 4)
        assert len(await world.deliveries(webhook, DeliveryState.DELIVERED)) == 2

    @pytest.mark.parametrize("is_written", [False, True])
    async def test_what_is_recorded_after_a_while_is_sent_once(
        self, *, is_written: bool, world: World
    ) -> None:
        webhook = await world.add()
        await world.log("1", "2")
        [leased] = await world.senders.dispatch.lease(limit=1)

        lost = UnavailableError("PostgreSQL: the connection was lost")
        await send_for(leased, unrecorded(world, lost, is_written=is_written, failures=2))

        assert world.receivers.ecgs() == ["1", "2"]
        assert len(await world.deliveries(webhook, DeliveryState.DELIVERED)) == 2
        assert await world.send() == 0

    async def test_several_processes_send_each_event_once(self, world: World) -> None:
        webhooks = [await world.add(name) for name in "abc"]

        async def is_done() -> bool:
            counts = [len(await world.deliveries(webhook)) for webhook in webhooks]
            return counts == [20, 20, 20]

        async with (
            open_webhooks(world.senders, delivery_days=30),
            open_webhooks(world.senders, delivery_days=30),
            open_webhooks(world.senders, delivery_days=30),
        ):
            for number in range(20):
                await world.log(str(number))
            await until(is_done)

        for webhook in webhooks:
            assert sorted(world.receivers.ecgs(webhook.url)) == sorted(map(str, range(20)))

    async def test_a_receiver_that_hangs_delays_no_other(self, world: World) -> None:
        hung, well = await world.add("hung"), await world.add("well")
        world.receivers.hung.add(hung.url)
        async with open_webhooks(world.senders, delivery_days=30):
            for number in range(3):
                await world.log(str(number))

                async def is_sent(count: int = number + 1) -> bool:
                    return len(await world.deliveries(well)) == count

                await until(is_sent)

        assert await world.deliveries(hung) == []
        leased = await world.senders.dispatch.lease(limit=9)
        assert [webhook.id for webhook in leased] == [hung.id]  # given back, and nothing of it is lost
        assert leased[0].position is None

    async def test_what_one_webhook_raises_ends_no_other(
        self, world: World, capfd: pytest.CaptureFixture[str]
    ) -> None:
        odd = await world.add("odd")
        well = await world.add("well")

        def answer(url: str, _message: WebhookMessage) -> Attempt:
            if "odd" in url:
                raise ZeroDivisionError
            return _TAKEN

        world.receivers.answer = answer
        await world.log("1")

        async def is_sent() -> bool:
            return len(await world.deliveries(well)) == 1

        async with open_webhooks(world.senders, delivery_days=30):
            await until(is_sent)
            await until(partial(world.deliveries, odd))

        [delivery] = await world.deliveries(odd)
        assert (delivery.state, delivery.error) == (
            DeliveryState.WAITING,
            "it could not be sent: ZeroDivisionError",
        )
        capfd.readouterr()

    async def test_a_receiver_that_hangs_is_asked_once_at_first(self, world: World) -> None:
        hung = await world.add("hung")
        world.receivers.hung.add(hung.url)
        await world.log(*map(str, range(20)))

        async def is_asked() -> bool:
            return bool(world.receivers.got[hung.url])

        async with open_webhooks(world.senders, delivery_days=30):
            await until(is_asked)
            for _ in range(100):
                await asyncio.sleep(0)

        assert len(world.receivers.got[hung.url]) == 1

    async def test_a_position_in_the_middle_of_a_transaction_goes_on_behind_it(self, world: World) -> None:
        await world.add()
        await world.log("1", "2", "3")
        async with world.database.connection() as connection:
            xid = int(await connection.fetchval("SELECT xid::text FROM event_log"))
        position = LogPosition(xid, 1)
        await world.execute(
            "UPDATE webhook SET after_xid = $1::text::xid8, after_place = $2", str(xid), position.place
        )

        await world.send()

        assert world.receivers.ecgs() == ["2", "3"]

    async def test_a_receiver_that_takes_long_is_left_to_the_process_that_sends(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dispatcher, "_RENEW_EVERY_S", 0.0)
        hung = await world.add("hung")
        world.receivers.hung.add(hung.url)
        await world.log("1")

        async def is_asked() -> bool:
            return bool(world.receivers.got[hung.url])

        async def is_renewed() -> bool:
            async with world.database.connection() as connection:
                return bool(await connection.fetchval(_IS_RENEWED))

        async with open_webhooks(world.senders, delivery_days=30):
            await until(is_asked)
            await world.execute("UPDATE webhook SET leased_until = now() + interval '5 seconds'")
            await until(is_renewed)

        assert len(world.receivers.got[hung.url]) == 1
