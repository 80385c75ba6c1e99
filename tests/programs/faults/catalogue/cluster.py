"""Faults of a RabbitMQ cluster of three nodes; services are connected to each of them."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Final

from shared.broker.topology import Topology
from tests.programs.faults.fault import fault

if TYPE_CHECKING:
    from tests.programs.faults.installation.installation import Installation

_NODES: Final = 3
# The other nodes give a silent one up after 8 s and elect another leader.
_FREEZE_S: Final = 20.0


async def _until_whole(installation: Installation) -> None:
    await installation.rabbitmq.until_whole()


@fault("RabbitMQ cluster: the queue's leader killed -9", nodes=_NODES, random=False, prepare=_until_whole)
async def kill_leader(installation: Installation) -> None:
    leader = await installation.rabbitmq.leader(Topology().submitted_queue)
    await leader.kill()
    await asyncio.sleep(_FREEZE_S / 4)
    await leader.start()
    await installation.rabbitmq.until_whole()


@fault("RabbitMQ cluster: the queue's leader frozen 20 s", nodes=_NODES, random=False, prepare=_until_whole)
async def freeze_leader(installation: Installation) -> None:
    leader = await installation.rabbitmq.leader(Topology().submitted_queue)
    leader.send(signal.SIGSTOP)
    await asyncio.sleep(_FREEZE_S)
    leader.send(signal.SIGCONT)
    await installation.rabbitmq.until_whole()
