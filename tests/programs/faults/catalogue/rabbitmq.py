"""Faults of a RabbitMQ that is a single node."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Final

from shared.broker.topology import Topology
from shared.events import EventType
from tests.programs.faults.fault import fault

if TYPE_CHECKING:
    from tests.programs.faults.installation.installation import Installation

_TOPOLOGY: Final = Topology()
_MOMENT_S: Final = 2.0


@fault("RabbitMQ: kill -9")
async def kill_broker(installation: Installation) -> None:
    await installation.rabbitmq.server.kill()
    await installation.rabbitmq.server.start()


@fault("RabbitMQ: frozen 12 s")
async def freeze_broker(installation: Installation) -> None:
    installation.rabbitmq.server.send(signal.SIGSTOP)
    await asyncio.sleep(12)
    installation.rabbitmq.server.send(signal.SIGCONT)


async def _raise_alarm(installation: Installation) -> None:
    await installation.rabbitmq.server.control("set_vm_memory_high_watermark", "0.000001")


@fault("RabbitMQ: memory alarm", random=False, prepare=_raise_alarm)
async def memory_alarm(installation: Installation) -> None:
    await asyncio.sleep(2 * _MOMENT_S)
    await installation.rabbitmq.server.control("set_vm_memory_high_watermark", "0.9")


@fault("RabbitMQ: disk alarm", spares_clients=True)
async def disk_alarm(installation: Installation) -> None:
    await installation.rabbitmq.server.control("set_disk_free_limit", "500GB")
    try:
        await asyncio.gather(*(gateway.until_part("broker", "degraded") for gateway in installation.gateways))
        await asyncio.sleep(_MOMENT_S)
    finally:
        await installation.rabbitmq.server.control("set_disk_free_limit", "1MB")
    await asyncio.gather(*(gateway.until_part("broker", "ok") for gateway in installation.gateways))


@fault("RabbitMQ: queue purged")
async def purge(installation: Installation) -> None:
    await _away_with_messages(installation, "purge")


@fault("RabbitMQ: queue deleted")
async def delete_queue(installation: Installation) -> None:
    await _away_with_messages(installation, "delete")


async def _away_with_messages(installation: Installation, what: str) -> None:
    """Let messages queue up first; a frozen processor would still receive them."""
    await installation.rabbitmq.until_declared(_TOPOLOGY.submitted_queue)
    proxy = installation.proxies["processor-rabbitmq"]
    proxy.is_refusing = True
    proxy.cut()
    await asyncio.sleep(_MOMENT_S)
    async with installation.rabbitmq.channel() as channel:
        name = _TOPOLOGY.submitted_queue
        await (channel.queue_delete(name) if what == "delete" else (await channel.get_queue(name)).purge())
    proxy.heal()


@fault("RabbitMQ: fresh and empty")
async def empty_broker(installation: Installation) -> None:
    await installation.rabbitmq.empty()
    installation.injected_letters = 0


@fault("RabbitMQ: confirms lost")
async def lose_confirms(installation: Installation) -> None:
    proxies = [installation.proxies["gateway-rabbitmq"], installation.proxies["processor-rabbitmq"]]
    for proxy in proxies:
        proxy.answers_pass = False
    await asyncio.sleep(1)
    for proxy in proxies:
        proxy.heal()
        proxy.cut()


@fault("RabbitMQ: events unroutable")
async def unroutable(installation: Installation) -> None:
    await installation.rabbitmq.until_declared(_TOPOLOGY.submitted_queue)
    async with installation.rabbitmq.channel() as channel:
        queue = await channel.get_queue(_TOPOLOGY.submitted_queue)
        await queue.unbind(_TOPOLOGY.exchange, EventType.SUBMITTED)
        await asyncio.sleep(_MOMENT_S)
        await queue.bind(_TOPOLOGY.exchange, EventType.SUBMITTED)


@fault("RabbitMQ: publishes refused (nack)")
async def nack(installation: Installation) -> None:
    policy = '{"max-length": 1, "overflow": "reject-publish"}'
    await installation.rabbitmq.server.control("set_policy", "nack", f"^{_TOPOLOGY.submitted_queue}$", policy)
    try:
        for processor in installation.processors:
            processor.send(signal.SIGSTOP)
        await asyncio.sleep(_MOMENT_S)
        for processor in installation.processors:
            processor.send(signal.SIGCONT)
    finally:
        await installation.rabbitmq.server.control("clear_policy", "nack")
