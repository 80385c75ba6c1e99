"""RabbitMQ refuses connections or blocks publishers: the reported reasons, and that no call waits."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from yarl import URL

from shared.broker.inspection import check_publishing
from shared.broker.rabbitmq import connection as rabbitmq
from shared.broker.rabbitmq.consumer import open_rabbitmq_consumer
from shared.broker.rabbitmq.dead_letters import open_dead_letters
from shared.broker.rabbitmq.publisher import open_rabbitmq_publisher
from shared.broker.topology import Topology
from shared.domain.errors import UnavailableError, UnroutableError
from shared.events import Event, EventType
from tests.contracts.brokers import open_channel, promptly
from tests.contracts.network import open_network
from tests.support.certificates import untrusted_certificate
from tests.support.logs import capture_logs
from tests.support.polling import until
from tests.support.servers.folders import server_folder
from tests.support.servers.rabbitmq_server import open_rabbitmq_server
from tests.support.servers.services import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from shared.broker.rabbitmq.consumer import RabbitmqConsumer
    from shared.broker.rabbitmq.publisher import RabbitmqPublisher
    from tests.support.servers.rabbitmq_server import RabbitmqServer

_LIMIT_S = 30
_TIMEOUT_S = 2.0  # a gateway's


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[RabbitmqServer]:
    """A node of this file's own, to be administered."""
    with server_folder() as folder:
        async with open_rabbitmq_server(folder) as node:
            await node.control("add_user", "isoline", "first")
            await node.control("set_permissions", "isoline", ".*", ".*", ".*")
            yield node


@pytest.fixture
def own_topology() -> Topology:
    """Names of this test's own at that node."""
    return Topology(namespace=f"test-{uuid4().hex[:8]}-")


@pytest.fixture
def promptly_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts to connect and looks at a connection follow each other closely."""
    monkeypatch.setattr(rabbitmq, "_FIRST_BACKOFF_S", 0.05)
    monkeypatch.setattr(rabbitmq, "_LONGEST_BACKOFF_S", 0.1)
    monkeypatch.setattr(rabbitmq, "_STABLE_AFTER_S", 0.1)
    monkeypatch.setattr(rabbitmq, "_PROBE_EVERY_S", 0.2)


def an_event() -> Event:
    return Event(uuid4(), EventType.SUBMITTED, b"{}")


def a_publisher(
    url: str, topology: Topology, *, timeout_s: float = _TIMEOUT_S
) -> AbstractAsyncContextManager[RabbitmqPublisher]:
    return promptly(open_rabbitmq_publisher(url, topology=topology, timeout_s=timeout_s, connect_timeout_s=2))


async def failure_text(check: Callable[[], Awaitable[None]]) -> str:
    """Why a check does not pass; nothing if it does."""
    try:
        await check()
    except UnavailableError as error:
        return str(error)
    return ""


async def until_failure_text(check: Callable[[], Awaitable[None]], words: str) -> None:
    """Return once the check fails with this text; ``""`` for one that passes."""
    async with asyncio.timeout(_LIMIT_S):
        while not (words in await failure_text(check) if words else await failure_text(check) == ""):
            await asyncio.sleep(0.02)


async def until_failures(end: RabbitmqPublisher | RabbitmqConsumer, count: int) -> None:
    await until(lambda: end._connection_state.failures >= count)


async def publish_when_possible(publisher: RabbitmqPublisher) -> None:
    async with asyncio.timeout(_LIMIT_S):
        while await publisher.publish([an_event()]) != [None]:
            await asyncio.sleep(0.05)


def logged(records: list[Any], event: str) -> list[str]:
    return [record.get("reason", "") for record in records if record["message"] == event]


@asynccontextmanager
async def a_server_that_says(answer: bytes) -> AsyncIterator[str]:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(8)
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(say, "127.0.0.1", 0) as listening:
        yield f"amqp://isoline:canary@127.0.0.1:{listening.sockets[0].getsockname()[1]}/"


@pytest.mark.usefixtures("promptly_again")
class TestRefusals:
    @pytest.mark.parametrize(
        ("part", "words"),
        [
            ({"password": "canary"}, "ACCESS_REFUSED - Login was refused"),
            ({"path": "/nowhere"}, "NOT_ALLOWED - vhost nowhere not found"),
        ],
    )
    async def test_a_refusal_is_logged_once_in_the_brokers_own_words(
        self, amqp_url: str, topology: Topology, part: dict[str, str], words: str
    ) -> None:
        url = str(getattr(URL(amqp_url), f"with_{next(iter(part))}")(*part.values()))
        with capture_logs() as records:
            async with (
                a_publisher(url, topology) as publisher,
                promptly(open_rabbitmq_consumer(url, topology=topology, prefetch=1)) as consumer,
            ):
                await until_failures(publisher, 3)
                await until_failures(consumer, 3)
                of_publisher = await failure_text(publisher.check_last_publish)
                of_consumer = await failure_text(consumer.check)

        assert of_publisher.startswith(f"RabbitMQ: {words}")
        assert of_consumer == of_publisher
        reasons = logged(records, "broker is away")
        assert len(reasons) == 2  # of two connections
        assert all(reason.startswith(words) for reason in reasons)
        assert "canary" not in repr(records) + of_publisher

    @pytest.mark.parametrize(
        ("answer", "words"),
        [
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the port does not speak AMQP: b'HTTP/1.1 400"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "the port does not speak AMQP: b'SSH-2.0"),
            (bytes.fromhex("15030300020246"), "the port expects TLS, amqps://"),
            (b"AMQP\x00\x01\x00\x00", "the port speaks another version of AMQP"),
            (b"", "the connection was closed without an answer"),
        ],
        ids=["http", "ssh", "tls", "amqp 1.0", "nothing"],
    )
    async def test_what_is_no_broker_is_named(self, answer: bytes, words: str) -> None:
        with capture_logs() as records:
            async with a_server_that_says(answer) as url, a_publisher(url, Topology()) as publisher:
                await until_failures(publisher, 2)
                failure = await failure_text(publisher.check_last_publish)

        assert failure.startswith(f"RabbitMQ: {words}")
        assert len(logged(records, "broker is away")) == 1

    async def test_a_host_that_has_no_address_and_one_that_refuses_are_named(self) -> None:
        async with a_publisher("amqp://isoline@nowhere.invalid/", Topology()) as publisher:
            nowhere = await failure_text(publisher.check)
        async with a_publisher(f"amqp://isoline@127.0.0.1:{free_port()}/", Topology()) as publisher:
            refused = await failure_text(publisher.check)

        assert nowhere.startswith("RabbitMQ: the broker's host name can't be resolved: ")
        assert "Connect" in refused

    async def test_a_port_without_tls_and_a_ca_that_is_nowhere_are_named(self, amqp_url: str) -> None:
        tls = URL(amqp_url).with_scheme("amqps")
        async with a_publisher(str(tls), Topology()) as publisher:
            plain = await failure_text(publisher.check)
        async with a_publisher(str(tls.with_query(cafile="/nowhere.pem")), Topology()) as publisher:
            no_file = await failure_text(publisher.check)

        assert plain == "RabbitMQ: the port does not speak TLS"
        assert no_file == "RabbitMQ: cafile, certfile or keyfile: No such file or directory"

    async def test_a_queue_that_is_in_the_way_is_named_and_waited_for(
        self, amqp_url: str, topology: Topology
    ) -> None:
        async with open_channel(amqp_url) as channel:
            await channel.declare_queue(topology.submitted_queue, durable=True)

        with capture_logs() as records:
            async with a_publisher(amqp_url, topology) as publisher:
                await until_failures(publisher, 3)
                failure = await failure_text(publisher.check_last_publish)
                async with open_channel(amqp_url) as channel:
                    await channel.queue_delete(topology.submitted_queue)
                await until_failure_text(publisher.check_last_publish, "")

        assert failure.startswith("RabbitMQ: PRECONDITION_FAILED - inequivalent arg 'x-")
        assert len(logged(records, "broker is away")) == 1
        assert len(logged(records, "broker is connected")) == 1

    async def test_a_command_reports_it_in_the_same_words(self, amqp_url: str, topology: Topology) -> None:
        url = str(URL(amqp_url).with_path("/nowhere"))

        with pytest.raises(UnavailableError, match=r"^RabbitMQ: NOT_ALLOWED - vhost nowhere not found$"):
            async with open_dead_letters(url, topology=topology):
                pass


@pytest.mark.usefixtures("promptly_again")
class TestAdministration:
    async def test_a_rotated_password_is_reported_and_recovery_is_logged_once(
        self, server: RabbitmqServer, own_topology: Topology
    ) -> None:
        url = str(URL(server.amqp_url).with_user("isoline").with_password("first"))
        with capture_logs() as records:
            async with a_publisher(url, own_topology) as publisher:
                await publish_when_possible(publisher)
                await server.control("change_password", "isoline", "second")
                await server.control("close_all_user_connections", "isoline", "rotated")
                await until_failure_text(publisher.check_last_publish, "ACCESS_REFUSED - Login was refused")
                await server.control("change_password", "isoline", "first")
                await until_failure_text(publisher.check_last_publish, "")
                await publish_when_possible(publisher)

        forced, refused = logged(records, "broker is away")
        assert forced == "CONNECTION_FORCED - rotated"
        assert refused.startswith("ACCESS_REFUSED - Login was refused")
        assert len(logged(records, "broker is connected")) == 2  # at the start, and again

    async def test_a_revoked_write_permission_is_logged_once_though_connecting_works(
        self, server: RabbitmqServer, own_topology: Topology, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rabbitmq, "_STABLE_AFTER_S", 2)
        url = str(URL(server.amqp_url).with_user("isoline").with_password("first"))
        with capture_logs() as records:
            async with a_publisher(url, own_topology) as publisher:
                await publish_when_possible(publisher)
                # Binding needs the right to write to queues.
                await server.control("set_permissions", "isoline", ".*", ".*(submitted|dead|letters)", ".*")
                # A channel goes by the rights that it has asked for until it has been idle for a while.
                await server.control("close_all_user_connections", "isoline", "other rights")
                async with asyncio.timeout(_LIMIT_S):
                    while publisher._connection_state.failures < 3:
                        await publisher.publish([an_event()])
                        await asyncio.sleep(0.02)
                failure = await failure_text(publisher.check_last_publish)
                await server.control("set_permissions", "isoline", ".*", ".*", ".*")
                await publish_when_possible(publisher)
                await until_failure_text(publisher.check_last_publish, "")

        forced, reason = logged(records, "broker is away")
        assert forced == "CONNECTION_FORCED - other rights"
        assert reason.startswith("ACCESS_REFUSED - ")
        assert f"access to exchange '{own_topology.exchange}'" in reason  # from 4.0: "write access"
        assert failure == f"RabbitMQ: {reason}"
        assert len(logged(records, "broker is connected")) == 2

    async def test_a_virtual_host_that_is_deleted_and_made_again_is_waited_for(
        self, server: RabbitmqServer, own_topology: Topology
    ) -> None:
        async def make() -> None:
            await server.control("add_vhost", "clinic")
            await server.control("set_permissions", "-p", "clinic", "guest", ".*", ".*", ".*")

        await make()
        async with a_publisher(str(URL(server.amqp_url).with_path("/clinic")), own_topology) as publisher:
            await publish_when_possible(publisher)
            await server.control("delete_vhost", "clinic")
            await until_failure_text(publisher.check_last_publish, "NOT_ALLOWED - vhost clinic not found")
            await make()

            await publish_when_possible(publisher)


@pytest.mark.usefixtures("promptly_again", "versions")
class TestWaiting:
    async def test_while_the_broker_is_short_of_disk_no_publish_waits(
        self, server: RabbitmqServer, own_topology: Topology
    ) -> None:
        async with a_publisher(server.amqp_url, own_topology) as publisher:
            await publish_when_possible(publisher)
            await server.control("set_disk_free_limit", "500GB")
            try:
                async with asyncio.timeout(_LIMIT_S):
                    while not await failure_text(
                        publisher.check
                    ):  # the broker reports it on the next publish
                        await publisher.publish([an_event()])
                begun_s = time.monotonic()
                outcomes = [await publisher.publish([an_event()]) for _ in range(100)]
                lasted_s = time.monotonic() - begun_s
                failure = await failure_text(publisher.check_last_publish)
            finally:
                await server.control("set_disk_free_limit", "1MB")
            await until_failure_text(publisher.check, "")
            await publish_when_possible(publisher)
            await until_failure_text(publisher.check_last_publish, "")

        assert {type(outcome) for [outcome] in outcomes} == {UnavailableError}
        assert lasted_s < 100 * _TIMEOUT_S / 10
        assert failure.startswith("RabbitMQ: the broker blocks publishers")

    async def test_a_queue_that_is_not_bound_is_named_and_bound_again(
        self, amqp_url: str, topology: Topology
    ) -> None:
        async with a_publisher(amqp_url, topology) as publisher:
            async with open_channel(amqp_url) as channel:
                queue = await channel.get_queue(topology.submitted_queue)
                await queue.unbind(topology.exchange, EventType.SUBMITTED)
            [outcome] = await publisher.publish([an_event()])
            failure = await failure_text(publisher.check_last_publish)
            await publish_when_possible(publisher)

            assert isinstance(outcome, UnroutableError)
            assert failure == "RabbitMQ: no queue is bound to ecg.submitted"
            assert await failure_text(publisher.check_last_publish) == ""

    async def test_an_unrouted_event_for_subscribers_is_no_failure(
        self, amqp_url: str, topology: Topology
    ) -> None:
        async with a_publisher(amqp_url, topology) as publisher:
            [outcome] = await publisher.publish([Event(uuid4(), EventType.PROCESSED, b"{}")])

            assert isinstance(outcome, UnroutableError)
            assert await failure_text(publisher.check_last_publish) == ""


async def test_the_reason_of_a_block_is_reported(server: RabbitmqServer, own_topology: Topology) -> None:
    async with a_publisher(server.amqp_url, own_topology) as publisher:
        await publish_when_possible(publisher)
        await server.control("set_disk_free_limit", "500GB")
        try:
            async with asyncio.timeout(_LIMIT_S):
                while not (failure := await failure_text(publisher.check)):
                    await publisher.publish([an_event()])
        finally:
            await server.control("set_disk_free_limit", "1MB")

    assert failure == "RabbitMQ: the broker blocks publishers: low on disk"


async def test_a_block_is_found_by_looking_for_it(server: RabbitmqServer, own_topology: Topology) -> None:
    async with a_publisher(server.amqp_url, own_topology):
        await check_publishing(server.amqp_url, own_topology)
        await server.control("set_disk_free_limit", "500GB")
        try:
            async with asyncio.timeout(_LIMIT_S):
                look = partial(check_publishing, server.amqp_url, own_topology)
                while not (failure := await failure_text(look)):
                    await asyncio.sleep(0.1)
        finally:
            await server.control("set_disk_free_limit", "1MB")

    assert failure == "RabbitMQ: the broker blocks publishers: it is short of memory or disk"


async def test_while_the_broker_confirms_nothing_only_the_first_wait_for_it(
    amqp_url: str, topology: Topology
) -> None:
    async with (
        open_network(amqp_url) as network,
        a_publisher(network.url, topology, timeout_s=_TIMEOUT_S) as publisher,
    ):
        await publish_when_possible(publisher)
        network.freeze()
        first = await publisher.publish([an_event()])
        begun_s = time.monotonic()
        later = [await publisher.publish([an_event()]) for _ in range(100)]
        lasted_s = time.monotonic() - begun_s
        failure = await failure_text(publisher.check)
        network.heal()
        await publish_when_possible(publisher)

    assert {type(outcome) for [outcome] in [first, *later]} == {UnavailableError}
    assert lasted_s < 100 * _TIMEOUT_S / 10
    assert failure == (
        "RabbitMQ: the broker answers and confirms nothing; one of its queues may have no leader"
    )


async def test_a_certificate_of_an_unknown_authority_is_named(tmp_path: Path) -> None:
    context = untrusted_certificate(tmp_path)

    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0, ssl=context) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with a_publisher(f"amqps://isoline@localhost:{port}/", Topology()) as publisher:
            failure = await failure_text(publisher.check)

    assert failure == "RabbitMQ: the broker's certificate is not trusted: self-signed certificate"
