"""The faults by name: each does its harm while ECGs come in, and has undone it when it returns."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import uuid4

import aio_pika
import numpy as np

from processor.planted import KILLS, RAISES
from shared.broker.topology import Topology
from shared.domain.ecg import Ecg, Lead
from shared.events import EcgKey, EventType, deleted, submitted
from shared.ports import Submission
from shared.storage.postgres import open_database
from shared.storage.postgres_ecgs import PostgresEcgStore
from shared.storage.postgres_owned_ecgs import PostgresOwnedEcgs

if TYPE_CHECKING:
    from tests.faults.world import World

Harm = Callable[["World"], Awaitable[None]]

_TOPOLOGY: Final = Topology()
_MOMENT_S: Final = 2.0
_BACKLOG: Final = 20_000
_PAST_THE_HEARTBEAT_S: Final = 50.0  # 3 x 15 s and 3 s


class Fault(NamedTuple):
    """A fault.

    Attributes:
        spares_clients: Whether no client may see a failed request meanwhile.
        prepare: What is done before ECGs come in.
        random: Whether the seeded mix may draw it: not what takes a minute, plants things, or needs root.
    """

    name: str
    harm: Harm
    spares_clients: bool = False
    random: bool = True
    prepare: Harm | None = None


CATALOGUE: Final[dict[str, Fault]] = {}


def fault(
    name: str, *, spares_clients: bool = False, random: bool = True, prepare: Harm | None = None
) -> Callable[[Harm], Harm]:
    """Enter the function into the catalogue."""

    def enter(harm: Harm) -> Harm:
        CATALOGUE[name] = Fault(name, harm, spares_clients, random, prepare)
        return harm

    return enter


@fault("nothing", spares_clients=True)
async def nothing(_: World) -> None:
    """What the others are compared with."""


# --- the services


@fault("gateway: kill -9")
async def kill_gateway(world: World) -> None:
    world.gateways[0].send(signal.SIGKILL)


@fault("processor: kill -9")
async def kill_processor(world: World) -> None:
    world.processors[0].send(signal.SIGKILL)


@fault("gateway: frozen 10 s")
async def freeze_gateway(world: World) -> None:
    await _freeze(world.gateways[0].send, 10)


@fault("processor: frozen past the heartbeat", random=False)
async def freeze_processor(world: World) -> None:
    await _freeze(world.processors[0].send, _PAST_THE_HEARTBEAT_S)


def _die_at(kind: str, point: str) -> tuple[Harm, Harm]:
    async def prepare(world: World) -> None:
        await getattr(world, kind)[0].restart(ISOLINE_FAILPOINT=point)
        await asyncio.sleep(1)  # until the balancer knows it again

    async def harm(world: World) -> None:
        await _until_killed(getattr(world, kind)[0].statuses)

    return prepare, harm


for _kind, _point in (
    ("gateways", "after-commit-before-publish:100"),
    ("processors", "after-claim:10"),
    ("processors", "before-commit:10"),
    ("processors", "after-commit:10"),
    ("processors", "after-event:10"),
    ("processors", "before-ack:50"),
):
    _prepare, _harm = _die_at(_kind, _point)
    fault(f"{_kind[:-1]}: killed at {_point.split(':')[0]}", random=False, prepare=_prepare)(_harm)


@fault("rolling restart of everything (SIGTERM)", spares_clients=True)
async def rolling_restart(world: World) -> None:
    for service in world.services:
        status = await service.restart()
        assert status == 0, f"{service.module} left with {status}"


# --- PostgreSQL


@fault("PostgreSQL: a backend killed -9")
async def kill_backend(world: World) -> None:
    os.kill(world.postgres.backends()[0], signal.SIGKILL)
    await asyncio.sleep(_MOMENT_S)


@fault("PostgreSQL: restarted immediately")
async def restart_postgres(world: World) -> None:
    await world.postgres.stop(immediately=True)
    await world.postgres.start()


@fault("PostgreSQL: stopped 30 s", random=False)
async def stop_postgres(world: World) -> None:
    await world.postgres.stop()
    await asyncio.sleep(30)
    await world.postgres.start()


@fault("PostgreSQL: backends frozen 12 s")
async def freeze_backends(world: World) -> None:
    frozen = world.postgres.backends()
    for number, pause_s in ((signal.SIGSTOP, 12.0), (signal.SIGCONT, 0.0)):
        for pid in frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        await asyncio.sleep(pause_s)


@fault("PostgreSQL: commits whose reply is lost")
async def lose_replies(world: World) -> None:
    await _lose(world, "lose_answers")


@fault("PostgreSQL: commits that are swallowed")
async def swallow_commits(world: World) -> None:
    await _lose(world, "swallow_statements")


async def _lose(world: World, what: str) -> None:
    legs = [world.legs["gateway-postgres"], world.legs["processor-postgres"]]
    before = [leg.lost for leg in legs]
    for leg in legs:
        setattr(leg, what, 25)
    async with asyncio.timeout(30):
        while any(leg.lost - lost < 25 for leg, lost in zip(legs, before, strict=True)):
            await asyncio.sleep(0.05)


@fault("PostgreSQL: slow (100 ms more each way)")
async def slow_postgres(world: World) -> None:
    for leg in (world.legs["gateway-postgres"], world.legs["processor-postgres"]):
        leg.delay_s = 0.1
    await asyncio.sleep(2 * _MOMENT_S)


@fault("PostgreSQL: disk full", random=False)
async def fill_disk(world: World) -> None:
    assert world.disk.is_mounted, "needs root, to mount a small disk"
    world.disk.fill()
    await asyncio.sleep(2 * _MOMENT_S)
    world.disk.free()
    await world.postgres.stop(immediately=True)  # it may have ended by itself
    await world.postgres.start()


@fault("PostgreSQL: a migration is pending", random=False)
async def pending_migration(world: World) -> None:
    rename = "UPDATE public._pogo_migration SET migration_id = $2 WHERE migration_id = $1"
    await world.postgres.query(rename, "0004_delivery", "hidden")
    await asyncio.sleep(_MOMENT_S)
    ready = [await service.is_ready() for service in world.services]
    await world.postgres.query(rename, "hidden", "0004_delivery")
    assert not any(ready), "a service was ready without its migration"


# --- RabbitMQ


@fault("RabbitMQ: kill -9")
async def kill_broker(world: World) -> None:
    await world.rabbitmq.server.kill()
    await world.rabbitmq.server.start()


@fault("RabbitMQ: frozen 12 s")
async def freeze_broker(world: World) -> None:
    await _freeze(world.rabbitmq.send, 12)


async def _raise_alarm(world: World) -> None:
    await world.rabbitmq.evaluate("set_vm_memory_high_watermark", "0.000001")


@fault("RabbitMQ: memory alarm", random=False, prepare=_raise_alarm)
async def memory_alarm(world: World) -> None:
    await asyncio.sleep(2 * _MOMENT_S)
    await world.rabbitmq.evaluate("set_vm_memory_high_watermark", "0.9")


@fault("RabbitMQ: queue purged")
async def purge(world: World) -> None:
    await _away_with_messages(world, "purge")


@fault("RabbitMQ: queue deleted")
async def delete_queue(world: World) -> None:
    await _away_with_messages(world, "delete")


async def _away_with_messages(world: World, what: str) -> None:
    """Let messages pile up in the queue first; a frozen processor would still be handed them."""
    leg = world.legs["processor-rabbitmq"]
    leg.is_refusing = True
    leg.cut()
    await asyncio.sleep(_MOMENT_S)
    async with world.rabbitmq.channel() as channel:
        name = _TOPOLOGY.submitted_queue
        await (channel.queue_delete(name) if what == "delete" else (await channel.get_queue(name)).purge())
    leg.heal()


@fault("RabbitMQ: fresh and empty")
async def empty_broker(world: World) -> None:
    await world.rabbitmq.empty()
    world.planted_letters = 0


@fault("RabbitMQ: confirms lost")
async def lose_confirms(world: World) -> None:
    legs = [world.legs["gateway-rabbitmq"], world.legs["processor-rabbitmq"]]
    for leg in legs:
        leg.answers_pass = False
    await asyncio.sleep(1)
    for leg in legs:
        leg.heal()
        leg.cut()


@fault("RabbitMQ: events unroutable")
async def unroutable(world: World) -> None:
    async with world.rabbitmq.channel() as channel:
        queue = await channel.get_queue(_TOPOLOGY.submitted_queue)
        await queue.unbind(_TOPOLOGY.exchange, EventType.SUBMITTED)
        await asyncio.sleep(_MOMENT_S)
        await queue.bind(_TOPOLOGY.exchange, EventType.SUBMITTED)


@fault("RabbitMQ: publishes refused (nack)")
async def nack(world: World) -> None:
    policy = '{"max-length": 1, "overflow": "reject-publish"}'
    await world.rabbitmq.evaluate("set_policy", "nack", f"^{_TOPOLOGY.submitted_queue}$", policy)
    for processor in world.processors:
        processor.send(signal.SIGSTOP)
    await asyncio.sleep(_MOMENT_S)
    for processor in world.processors:
        processor.send(signal.SIGCONT)
    await world.rabbitmq.evaluate("clear_policy", "nack")


# --- the network


def _cut(leg: str) -> Harm:
    async def harm(world: World) -> None:
        world.legs[leg].is_refusing = True
        world.legs[leg].cut()
        await asyncio.sleep(_MOMENT_S)
        world.legs[leg].heal()

    return harm


def _black_hole(leg: str) -> Harm:
    async def harm(world: World) -> None:
        world.legs[leg].black_hole()
        await asyncio.sleep(12)
        world.legs[leg].heal()

    return harm


for _leg in ("gateway-postgres", "gateway-rabbitmq", "processor-postgres", "processor-rabbitmq"):
    fault(f"network {_leg}: cut")(_cut(_leg))
    fault(f"network {_leg}: black hole 12 s")(_black_hole(_leg))


# --- messages


@fault("commands three times, shuffled", random=False)
async def commands_thrice(world: World) -> None:
    finished = await world.postgres.query("SELECT id FROM ecg WHERE status = 'completed' LIMIT 50")
    ids = [row["id"] for row in finished]
    world.erased |= set(ids[:10])
    async with open_database(world.postgres.url) as database:
        for ecg_id in ids[:10]:
            event_of = partial(deleted, now=datetime.now(UTC), traceparent=None)
            await PostgresOwnedEcgs(database).erase("ada", ecg_id, event_of=event_of)
    keys = [EcgKey("ada", ecg_id) for ecg_id in [*ids, "unknown-1", "unknown-2"]] * 3
    random.shuffle(keys)
    await _publish(world, [submitted([key], now=datetime.now(UTC)).body for key in keys])


@fault("poison: unreadable messages", random=False)
async def unreadable(world: World) -> None:
    good = submitted([EcgKey("ada", "unknown")], now=datetime.now(UTC)).body
    letters = [b"not JSON", b"[]", good.replace(b'"1.0"', b'"2.0"'), good.replace(b'"ecgs"', b'"egcs"')]
    await _publish(world, [*letters, good])
    world.planted_letters += len(letters)


@fault("poison: an ECG whose analysis raises", random=False)
async def raising_ecg(world: World) -> None:
    await _poison(world, RAISES)


@fault("poison: an ECG that kills the processor", random=False)
async def killing_ecg(world: World) -> None:
    await _poison(world, KILLS)


async def _poison(world: World, signal_: tuple[int, ...]) -> None:
    for processor in world.processors:
        processor.environment["ISOLINE_FAILPOINT"] = "poison"
    await asyncio.gather(*(processor.restart() for processor in world.processors))
    ecg = Ecg(f"poison-{uuid4()}", "2023-07-30", (Lead("I", np.array(signal_, np.int16), 0),))
    async with open_database(world.postgres.url) as database:
        await PostgresEcgStore(database).add([Submission("ada", ecg)])
    world.accepted.add(ecg.id)
    world.must_fail.add(ecg.id)
    await _publish(world, [submitted([EcgKey("ada", ecg.id)], now=datetime.now(UTC)).body])
    async with asyncio.timeout(120):
        while (await world.postgres.query("SELECT status FROM ecg WHERE id = $1", ecg.id))[0][0] == "queued":
            await asyncio.sleep(0.1)
    for processor in world.processors:
        del processor.environment["ISOLINE_FAILPOINT"]
    await asyncio.gather(*(processor.restart() for processor in world.processors))


_CLONE: Final = """
WITH source AS (
    SELECT row, id, content_hash, num_samples FROM ecg WHERE status = 'completed' ORDER BY row LIMIT 1
), new AS (
    INSERT INTO ecg (owner, id, content_hash, num_samples, due_at)
    SELECT 'ada', 'backlog-' || n, content_hash, num_samples, now() FROM source, generate_series(1, $1) AS n
    RETURNING row
)
INSERT INTO ecg_signal (row, date, sampling_rate_hz, unit, leads, encoding, samples)
SELECT new.row, date, sampling_rate_hz, unit, leads, encoding, samples
FROM new, source JOIN ecg_signal USING (row)
"""


@fault("20,000 queued after an outage", random=False)
async def backlog(world: World) -> None:
    await world.postgres.query(_CLONE, _BACKLOG)
    [row] = await world.postgres.query("SELECT id FROM ecg WHERE status = 'completed' ORDER BY row LIMIT 1")
    ids = {f"backlog-{number}" for number in range(1, _BACKLOG + 1)}
    world.known |= dict.fromkeys(ids, world.known[row["id"]])
    world.accepted |= ids


async def _publish(world: World, bodies: list[bytes]) -> None:
    async with world.rabbitmq.channel() as channel:
        exchange = await channel.get_exchange(_TOPOLOGY.exchange)
        for body in bodies:
            await exchange.publish(aio_pika.Message(body), EventType.SUBMITTED)


async def _freeze(send: Callable[[signal.Signals], None], pause_s: float) -> None:
    send(signal.SIGSTOP)
    await asyncio.sleep(pause_s)
    send(signal.SIGCONT)


async def _until_killed(statuses: list[int]) -> None:
    async with asyncio.timeout(30):
        while statuses[-1] != -signal.SIGKILL:
            await asyncio.sleep(0.05)
