"""Faults of a RabbitMQ that is a single node."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Final

from shared.broker.topology import Topology
from shared.events import EventType
from tests.programs.faults.fault import fault

if TYPE_CHECKING:
    from tests.programs.faults.installation.installation import World

_TOPOLOGY: Final = Topology()
_MOMENT_S: Final = 2.0


@fault("RabbitMQ: kill -9")
async def kill_broker(world: World) -> None:
    await world.rabbitmq.server.kill()
    await world.rabbitmq.server.start()


@fault("RabbitMQ: frozen 12 s")
async def freeze_broker(world: World) -> None:
    world.rabbitmq.server.send(signal.SIGSTOP)
    await asyncio.sleep(12)
    world.rabbitmq.server.send(signal.SIGCONT)


async def _raise_alarm(world: World) -> None:
    await world.rabbitmq.server.control("set_vm_memory_high_watermark", "0.000001")


@fault("RabbitMQ: memory alarm", random=False, prepare=_raise_alarm)
async def memory_alarm(world: World) -> None:
    await asyncio.sleep(2 * _MOMENT_S)
    await world.rabbitmq.server.control("set_vm_memory_high_watermark", "0.9")


@fault("RabbitMQ: disk alarm", spares_clients=True)
async def disk_alarm(world: World) -> None:
    await world.rabbitmq.server.control("set_disk_free_limit", "500GB")
    try:
        await asyncio.gather(*(gateway.until_part("broker", "degraded") for gateway in world.gateways))
        await asyncio.sleep(_MOMENT_S)
    finally:
        await world.rabbitmq.server.control("set_disk_free_limit", "1MB")
    await asyncio.gather(*(gateway.until_part("broker", "ok") for gateway in world.gateways))


@fault("RabbitMQ: queue purged")
async def purge(world: World) -> None:
    await _away_with_messages(world, "purge")


@fault("RabbitMQ: queue deleted")
async def delete_queue(world: World) -> None:
    await _away_with_messages(world, "delete")


async def _away_with_messages(world: World, what: str) -> None:
    """Let messages pile up in the queue first; a frozen processor would still be handed them."""
    await world.rabbitmq.until_declared(_TOPOLOGY.submitted_queue)
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
    await world.rabbitmq.until_declared(_TOPOLOGY.submitted_queue)
    async with world.rabbitmq.channel() as channel:
        queue = await channel.get_queue(_TOPOLOGY.submitted_queue)
        await queue.unbind(_TOPOLOGY.exchange, EventType.SUBMITTED)
        await asyncio.sleep(_MOMENT_S)
        await queue.bind(_TOPOLOGY.exchange, EventType.SUBMITTED)


@fault("RabbitMQ: publishes refused (nack)")
async def nack(world: World) -> None:
    policy = '{"max-length": 1, "overflow": "reject-publish"}'
    await world.rabbitmq.server.control("set_policy", "nack", f"^{_TOPOLOGY.submitted_queue}$", policy)
    try:
        for processor in world.processors:
            processor.send(signal.SIGSTOP)
        await asyncio.sleep(_MOMENT_S)
        for processor in world.processors:
            processor.send(signal.SIGCONT)
    finally:
        await world.rabbitmq.server.control("clear_policy", "nack")
