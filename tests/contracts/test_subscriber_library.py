"""`isoline.subscriber` on a RabbitMQ: events that come twice, fail, can't be read, or are interrupted."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import aio_pika
import asyncpg
import pytest
from aiormq.exceptions import ChannelNotFoundEntity
from pamqp import commands as spec
from yarl import URL

import isoline.subscriber
from isoline.subscriber import DeletedEvent, Event, ProcessedEvent, SubscriberError, subscribe
from shared.broker.topology import Topology
from shared.events import EcgKey, EventType, deleted_event, processed_event
from tests.contracts.brokers import open_channel
from tests.support.builders import SOURCE
from tests.support.polling import until
from tests.support.servers.folders import server_folder
from tests.support.servers.rabbitmq_server import open_rabbitmq_server

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from shared.events import Event as PublishedEvent
    from tests.support.servers.rabbitmq_server import RabbitmqServer

_LIMIT_S: Final = 30
_ROOT: Final = Path(__file__).parents[2]
_TYPES: Final = ("ecg.processed", "ecg.deleted")
_FINDINGS: Final = {"leads": [{"I": {"zero_crossings": 2}}], "insights": {"zero_crossings": 1}}


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[RabbitmqServer]:
    """A node of this file's own, to be stopped and administered."""
    with server_folder() as folder:
        async with open_rabbitmq_server(folder) as node:
            yield node


@pytest.fixture
def namespace() -> str:
    """Names of this test's own."""
    return f"test-{uuid4().hex[:8]}-"


@pytest.fixture(autouse=True)
def promptly_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts to connect follow each other closely."""
    monkeypatch.setattr(isoline.subscriber, "_LONGEST_BACKOFF_S", 0.2)


class Broker:
    """The exchange and the queues of one test, as Isoline and an administrator see them."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url = url
        self.namespace = namespace
        self.exchange = Topology(namespace).exchange

    def subscribe(
        self, *, url: str = "", service: str = "billing", tries: int = 5
    ) -> AsyncGenerator[Event, None]:
        return subscribe(
            url or self.url, service=service, types=_TYPES, namespace=self.namespace, tries=tries
        )

    async def declare_exchange(self) -> None:
        async with open_channel(self.url) as channel:
            await channel.declare_exchange(self.exchange, aio_pika.ExchangeType.TOPIC, durable=True)

    async def publish(self, *bodies: bytes, key: str = "ecg.processed") -> None:
        """Publish persistent messages, and wait until a queue has each."""
        async with open_channel(self.url) as channel:
            exchange = await channel.get_exchange(self.exchange, ensure=False)
            for body in bodies:
                message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
                while not isinstance(await exchange.publish(message, key), spec.Basic.Ack):
                    await asyncio.sleep(0.02)

    async def count(self, queue: str = "sub.billing") -> int:
        """Messages that are ready."""
        async with open_channel(self.url) as channel:
            declared = await channel.declare_queue(self.namespace + queue, passive=True)
            return declared.declaration_result.message_count or 0

    async def is_consumed(self, queue: str) -> bool:
        """Whether a subscriber has declared and bound it, and consumes."""
        async with open_channel(self.url) as channel:
            with suppress(ChannelNotFoundEntity):
                declared = await channel.declare_queue(self.namespace + queue, passive=True)
                return bool(declared.declaration_result.consumer_count)
        return False

    async def dead_letters(self, count: int, service: str = "billing") -> list[tuple[bytes, str]]:
        """Wait for so many messages of the dead-letter queue: body and reason."""
        letters: list[tuple[bytes, str]] = []
        async with asyncio.timeout(_LIMIT_S), open_channel(self.url) as channel:
            queue = await channel.get_queue(f"{self.namespace}sub.{service}.dead")
            async with queue.iterator() as messages:
                while len(letters) < count:
                    message = await anext(messages)
                    letters.append((message.body, str(message.headers["isoline-reason"])))
                    await message.ack()
        return letters


@pytest.fixture
async def broker(server: RabbitmqServer, namespace: str) -> Broker:
    broker = Broker(server.amqp_url, namespace)
    await broker.declare_exchange()
    return broker


def processed(id_: str = "10") -> PublishedEvent:
    key = EcgKey("demo", id_)
    return processed_event(key, _FINDINGS, source=SOURCE, now=datetime.now(UTC), traceparent=None)


async def take(events: AsyncIterator[Event], count: int) -> list[str]:
    """The ECGs of the next events, whose bodies end."""
    return [(await anext(events)).data["id"] for _ in range(count)]


async def fail_at(broker: Broker, poison: str) -> list[str]:
    """Read until the body of the poison raises; the ECGs that were handled before."""
    handled = []
    with suppress(ZeroDivisionError):
        async with aclosing(broker.subscribe()) as events:
            async for event in events:
                if event.data["id"] == poison:
                    raise ZeroDivisionError
                handled.append(event.data["id"])
    return handled


async def test_events_are_typed_and_acknowledged(broker: Broker) -> None:
    deleted = deleted_event(EcgKey("demo", "11", 2), source=SOURCE, now=datetime.now(UTC), traceparent=None)
    async with asyncio.timeout(_LIMIT_S), aclosing(broker.subscribe()) as events:
        reading = asyncio.ensure_future(take_events(events, 2))
        await broker.publish(processed().body)
        await broker.publish(deleted.body, key=EventType.DELETED)
        first, second = await reading
        third = asyncio.ensure_future(anext(events))  # ends the body of the second
        await broker.publish(processed("12").body)
        await third
    assert isinstance(first, ProcessedEvent)
    assert first.data["leads"] == [{"I": {"zero_crossings": 2}}]
    assert first.subject == "demo/10"
    assert isinstance(second, DeletedEvent)
    assert second.data == {"owner": "demo", "id": "11", "generation": 2}
    await until(lambda: has(broker, 1))  # the third, whose body did not end


async def take_events(events: AsyncIterator[Event], count: int) -> list[Event]:
    return [await anext(events) for _ in range(count)]


async def has(broker: Broker, count: int) -> bool:
    return await broker.count() == count


async def declare_queues(broker: Broker) -> None:
    """Declare what a subscriber declares, by one."""
    async with aclosing(broker.subscribe()) as events:
        waiting = asyncio.ensure_future(anext(events))
        await broker.publish(processed("first").body)
        await waiting
        waiting = asyncio.ensure_future(anext(events))
        await until(lambda: has(broker, 0))
        await broker.publish(processed("second").body)
        await waiting
    await take_all(broker, 1)


async def take_all(broker: Broker, count: int) -> list[str]:
    """The ECGs of so many events, until the queue is empty."""
    async with asyncio.timeout(_LIMIT_S), aclosing(broker.subscribe()) as events:
        ids = await take(events, count)
        waiting = asyncio.ensure_future(anext(events))
        await until(lambda: has(broker, 0))
        waiting.cancel()
        await asyncio.wait([waiting])
    return ids


async def test_an_event_that_fails_is_given_up_after_its_tries_and_none_behind_it(broker: Broker) -> None:
    await declare_queues(broker)
    good = [f"good-{n}" for n in range(30)]
    await broker.publish(*(processed(id_).body for id_ in ["before", "poison", *good]))

    async with asyncio.timeout(_LIMIT_S):
        handled = [id_ for _ in range(5) for id_ in await fail_at(broker, "poison")]
        handled += await take_all(broker, 31 - len(handled))

    assert sorted(handled) == sorted(["before", *good])
    [(body, reason)] = await broker.dead_letters(1)
    assert b'"id":"poison"' in body
    assert reason == "it was begun 5 times and never finished"


async def test_what_is_unreadable_goes_to_the_dead_letter_queue_at_once(broker: Broker) -> None:
    await declare_queues(broker)
    unreadable = [b"not json", b"{}", b"[" * 100_000]
    await broker.publish(*unreadable, processed("good").body)
    await broker.publish(processed("other type").body, key=EventType.DELETED)

    assert sorted(await take_all(broker, 2)) == ["good", "other type"]
    letters = await broker.dead_letters(3)
    assert sorted(body for body, _ in letters) == sorted(unreadable)
    assert dict(letters)[b"not json"] == "it is no JSON"


async def test_an_event_that_comes_twice_is_yielded_once(broker: Broker) -> None:
    await declare_queues(broker)
    event = processed("twice")
    await broker.publish(event.body, event.body, processed("last").body, event.body)

    assert await take_all(broker, 2) == ["twice", "last"]


async def test_an_event_whose_loop_is_left_comes_again(broker: Broker) -> None:
    await declare_queues(broker)
    await broker.publish(processed("again").body)

    async with asyncio.timeout(_LIMIT_S):
        async for event in broker.subscribe():
            assert event.data["id"] == "again"
            break
        assert await take_all(broker, 1) == ["again"]


async def test_a_cancelled_subscriber_gives_back_what_it_has(broker: Broker) -> None:
    await declare_queues(broker)
    await broker.publish(processed("at hand").body, processed("behind").body)
    began = asyncio.Event()

    async def handle() -> None:
        async for _ in broker.subscribe():
            began.set()
            await asyncio.Event().wait()

    async with asyncio.timeout(_LIMIT_S):
        task = asyncio.create_task(handle())
        await began.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sorted(await take_all(broker, 2)) == ["at hand", "behind"]


async def test_a_restart_of_the_broker_repeats_no_event_that_was_finished(
    server: RabbitmqServer, broker: Broker
) -> None:
    await declare_queues(broker)
    await broker.publish(*(processed(str(n)).body for n in range(20)))

    async with asyncio.timeout(2 * _LIMIT_S), aclosing(broker.subscribe()) as events:
        ids = await take(events, 5)
        await server.stop()
        await server.start()
        ids += await take(events, 15)
        await broker.publish(processed("after").body)
        ids += await take(events, 1)

    assert ids[-1] == "after"
    assert sorted(ids[:-1], key=int) == [str(n) for n in range(20)]


async def test_a_queue_that_is_deleted_is_declared_again(broker: Broker) -> None:
    async with asyncio.timeout(_LIMIT_S), aclosing(broker.subscribe()) as events:
        waiting = asyncio.ensure_future(anext(events))
        await broker.publish(processed("1").body)
        await waiting
        waiting = asyncio.ensure_future(anext(events))
        await until(lambda: has(broker, 0))
        async with open_channel(broker.url) as channel:
            await channel.queue_delete(f"{broker.namespace}sub.billing")
        await broker.publish(processed("2").body)

        assert (await waiting).data["id"] == "2"


async def test_an_exchange_that_isoline_has_not_declared_yet_is_waited_for(
    server: RabbitmqServer, namespace: str
) -> None:
    broker = Broker(server.amqp_url, namespace)
    async with asyncio.timeout(_LIMIT_S), aclosing(broker.subscribe()) as events:
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        await broker.declare_exchange()
        await broker.publish(processed("1").body)

        assert (await waiting).data["id"] == "1"


async def test_a_subscriber_that_rabbitmq_refuses_is_told_why(broker: Broker) -> None:
    async with open_channel(broker.url) as channel:
        await channel.declare_queue(f"{broker.namespace}sub.classic", durable=True)
    wrong_password = str(URL(broker.url).with_password("wrong"))

    async with asyncio.timeout(_LIMIT_S):
        with pytest.raises(SubscriberError, match="declared otherwise"):
            await anext(broker.subscribe(service="classic"))
        with pytest.raises(SubscriberError):
            await anext(broker.subscribe(url=wrong_password))


async def test_the_rights_of_docs_events_are_enough_and_no_other_queue_can_be_had(
    server: RabbitmqServer,
) -> None:
    page = (_ROOT / "docs/events.md").read_text()
    [command] = re.findall(r"^rabbitmqctl (set_permissions billing .*)$", page, re.MULTILINE)
    await server.control("add_user", "billing", "secret")
    await server.control(*(word.strip("'") for word in command.split()))
    broker = Broker(server.amqp_url, "")
    await broker.declare_exchange()
    own = str(URL(server.amqp_url).with_user("billing").with_password("secret"))

    async with asyncio.timeout(_LIMIT_S), aclosing(broker.subscribe(url=own)) as events:
        waiting = asyncio.ensure_future(anext(events))
        await broker.publish(b"not json", processed("1").body)
        assert (await waiting).data["id"] == "1"
        with pytest.raises(SubscriberError, match="ACCESS_REFUSED"):
            await anext(broker.subscribe(url=own, service="other"))
    assert [body for body, _ in await broker.dead_letters(1)] == [b"not json"]


async def test_the_rights_of_compose_are_enough_for_each_service(server: RabbitmqServer) -> None:
    own = await user_with(server, rights_of_compose())
    broker = Broker(server.amqp_url, "")
    await broker.declare_exchange()

    async with asyncio.timeout(_LIMIT_S):
        for service in ("wards.icu-2", "laboratory"):
            async with aclosing(broker.subscribe(url=own, service=service)) as events:
                waiting = asyncio.ensure_future(anext(events))
                await until(partial(broker.is_consumed, f"sub.{service}"))
                await broker.publish(b"not json", processed("1").body)
                assert (await waiting).data["id"] == "1"
            assert [body for body, _ in await broker.dead_letters(1, service)] == [b"not json"]


@pytest.mark.parametrize(
    ("lacks", "told"),
    [
        ("configure", "access to exchange 'sub.lab.dead'"),
        ("write", "access to queue 'sub.lab.dead'"),
        ("read", "access to exchange 'sub.lab.dead'"),
        ("events", "access to exchange 'ecg.events'"),
        ("all", "there is no virtual host '/', or this account has no rights there"),
    ],
)
async def test_the_right_that_is_missing_is_named(server: RabbitmqServer, lacks: str, told: str) -> None:
    configure, write, read = rights_of_compose()
    rights = {
        "configure": ("^$", write, read),
        "write": (configure, "^$", read),
        "read": (configure, write, "^ecg[.]events$"),
        "events": (configure, write, configure),
        "all": None,
    }[lacks]
    own = await user_with(server, rights)
    broker = Broker(server.amqp_url, "")
    await broker.declare_exchange()

    async with asyncio.timeout(_LIMIT_S):
        with pytest.raises(SubscriberError, match=re.escape(told)):
            await anext(broker.subscribe(url=own, service="lab"))


async def test_rights_that_are_taken_away_are_said_and_lose_no_event(
    server: RabbitmqServer, caplog: pytest.LogCaptureFixture
) -> None:
    own = await user_with(server, rights_of_compose())
    broker = Broker(server.amqp_url, "")
    await broker.declare_exchange()

    async with asyncio.timeout(_LIMIT_S), aclosing(broker.subscribe(url=own, service="lab")) as events:
        waiting = asyncio.ensure_future(anext(events))
        await until(partial(broker.is_consumed, "sub.lab"))
        await server.control("set_permissions", str(URL(own).user), "^$", "^$", "^$")
        await server.control("close_all_connections", "the rights were changed")
        await until(lambda: "ACCESS_REFUSED" in caplog.text)
        await broker.publish(processed("1").body)
        await server.control("set_permissions", str(URL(own).user), *rights_of_compose())
        assert (await waiting).data["id"] == "1"

    assert "sub.lab: no connection to RabbitMQ: ACCESS_REFUSED" in caplog.text


async def test_a_virtual_host_that_is_not_there_is_told(broker: Broker) -> None:
    async with asyncio.timeout(_LIMIT_S):
        with pytest.raises(SubscriberError, match="there is no virtual host 'nowhere'"):
            await anext(broker.subscribe(url=str(URL(broker.url).with_path("/nowhere"))))


def rights_of_compose() -> tuple[str, str, str]:
    """What the subscribers' user of Docker Compose may configure, write and read."""
    script = (_ROOT / "deploy/compose/broker-users").read_text()
    [theirs] = re.findall(r"^readonly theirs='(.*)'$", script, re.MULTILINE)
    [rights] = re.findall(
        r'"user": "isoline_subscriber", .*\n.*"configure": "(.*)", "write": "(.*)", "read": "(.*)"', script
    )
    configure, write, read = (pattern.replace("$theirs", theirs) for pattern in rights)
    return configure, write, read


async def user_with(server: RabbitmqServer, rights: tuple[str, str, str] | None) -> str:
    """The URL of a new user with these rights, if any."""
    name = f"user-{uuid4().hex[:8]}"
    await server.control("add_user", name, "secret")
    if rights is not None:
        await server.control("set_permissions", name, *rights)
    return str(URL(server.amqp_url).with_user(name).with_password("secret"))


async def test_a_subscriber_that_is_killed_again_and_again_handles_each_event_once(
    broker: Broker, database_url: str
) -> None:
    bodies = [processed(str(n)).body for n in range(300)]
    publishing = asyncio.create_task(broker.publish(*bodies, *bodies))
    database = await asyncpg.connect(database_url)
    try:
        async with asyncio.timeout(3 * _LIMIT_S):
            results, steps = 0, cycle((40, 110, 7, 80))
            while results < len(bodies):
                results = await kill_after(min(results + next(steps), 300), broker, database_url)
            await publishing
            await kill_after(300, broker, database_url, until_empty=True)
        inbox = await database.fetchval("SELECT count(*) FROM isoline_inbox")
        results = await database.fetchval("SELECT count(*) FROM result WHERE leads IS NOT NULL")
    finally:
        publishing.cancel()
        await database.close()

    assert (inbox, results) == (300, 300)
    assert await broker.count("sub.example.inbox.dead") == 0


async def kill_after(results: int, broker: Broker, database_url: str, *, until_empty: bool = False) -> int:
    """Run examples/inbox_subscriber.py until there are so many results, and kill it; how many there are."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, _ROOT / "examples/inbox_subscriber.py", broker.url, database_url),
        env=os.environ | {"PYTHONPATH": str(_ROOT), "ISOLINE_AMQP_NAMESPACE": broker.namespace},
    )
    database = await asyncpg.connect(database_url)

    async def count() -> int:
        if await database.fetchval("SELECT to_regclass('result')") is None:
            return 0
        return int(await database.fetchval("SELECT count(*) FROM result"))

    async def is_far_enough() -> bool:
        assert process.returncode is None
        empty = not until_empty or await broker.count("sub.example.inbox") == 0
        return await count() >= results and empty

    try:
        await until(is_far_enough, within_s=_LIMIT_S)
        process.kill()
        await process.wait()
        return await count()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await database.close()
